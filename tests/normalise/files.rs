//! Pairs of files: `NAME.in.eml` as submitted, `NAME.out.eml` as it leaves, or the refusal. Line ends are LF in the files and CR LF
//! on the way; `+forward`, `+signed` (a foreign signature verifies), `+utf8` (SMTPUTF8) and `+keep` (8BITMIME kept) in a name set
//! the case up. After a wanted change, `BLESS=1 cargo nextest run normalise::files` writes the outs anew: read the difference.

use super::Case;
use std::fs;
use std::path::Path;

#[test]
fn messages_leave_as_their_files_say() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/normalise/files");
    let mut wrong = Vec::new();
    let mut seen = 0;
    for entry in fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        let Some(name) = path.file_name().unwrap().to_str().unwrap().strip_suffix(".in.eml").map(str::to_owned) else { continue };
        let out = outcome(&case(&name), &fs::read(&path).unwrap());
        let expected = folder.join(format!("{name}.out.eml"));
        if std::env::var_os("BLESS").is_some() {
            fs::write(&expected, &out).unwrap();
        }
        if fs::read(&expected).unwrap() != out {
            wrong.push(format!("{name}:\n{}", String::from_utf8_lossy(&out)));
        }
        seen += 1;
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(seen >= 26, "{seen} files found in {}", folder.display());
}

fn case(name: &str) -> Case {
    name.split('+').skip(1).fold(Case::new(), |case, word| match word {
        "forward" => Case { mode: Case::forward().mode, ..case },
        "signed" => case.signed(),
        "utf8" => case.smtputf8(),
        "keep" => case.with(|settings| settings.keep_8bitmime = true),
        _ => panic!("{name}: unknown word {word}"),
    })
}

fn outcome(case: &Case, message: &[u8]) -> Vec<u8> {
    match case.run(&replace(message, b"\n", b"\r\n")) {
        Ok(done) => replace(done.message.octets(), b"\r\n", b"\n"),
        Err(refusal) => format!("{refusal}\n").into_bytes(),
    }
}

fn replace(octets: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut done = 0;
    for at in memchr::memmem::find_iter(octets, from) {
        out.extend_from_slice(&octets[done..at]);
        out.extend_from_slice(to);
        done = at + from.len();
    }
    out.extend_from_slice(&octets[done..]);
    out
}
