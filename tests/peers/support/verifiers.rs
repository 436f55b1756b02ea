//! Four programs of others that verify DKIM, two of which came from other authors' reading of RFC 8617 as well, and `postseal check`;
//! what each can do.
//!
//! | verifier | RSA | Ed25519 | ARC | SPF, DMARC |
//! |---|---|---|---|---|
//! | dkimpy 1.1.8 | yes | yes | yes | no |
//! | Mail::DKIM 1.20230212 (Debian 12) | yes | no: calls the algorithm unsupported | yes | no |
//! | OpenDKIM 2.11 | yes | yes | no | no |
//! | rspamd 3.4 (Debian 12) | yes | yes | yes | yes |
//! | `postseal check` | yes | yes | yes | yes |

use super::{Peer, Process, folder, free_port, program, python, run};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use tempfile::TempDir;

/// A message as a receiver has it.
#[derive(Debug, Clone)]
pub struct Arrived {
    /// Without angle brackets.
    pub return_path: String,
    pub octets: Vec<u8>,
}

/// What a verifier says of one thing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Says {
    Pass,
    /// It does not know the algorithm.
    Unsupported,
    /// In its own words.
    Fail(String),
}

/// What a verifier says of a message.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Findings {
    /// By `selector._domainkey.domain`.
    pub dkim: BTreeMap<String, Says>,
    /// Nothing if it knows no ARC; `none` is a failure here.
    pub arc: Option<Says>,
    /// Nothing if it knows no SPF.
    pub spf: Option<Says>,
    /// Nothing if it knows no DMARC.
    pub dmarc: Option<Says>,
}

/// A program that verifies.
pub trait Verifier {
    fn name(&self) -> &'static str;
    /// Whether it knows `ed25519-sha256`.
    fn knows_ed25519(&self) -> bool;
    /// Whether it knows ARC.
    fn knows_arc(&self) -> bool;
    fn verify(&self, mail: &Arrived) -> Findings;
}

/// What [`all`] needs.
pub const PEERS: [Peer; 4] = [Peer::Dkimpy, Peer::MailDkim, Peer::OpenDkim, Peer::Rspamd];

/// All of them, asking the DNS at this port.
pub fn all(dns_port: u16) -> Vec<Box<dyn Verifier>> {
    vec![
        Box::new(Dkimpy { dns_port }),
        Box::new(MailDkim { dns_port }),
        Box::new(OpenDkim::new(dns_port)),
        Box::new(Rspamd::start(dns_port)),
        Box::new(Postseal { dns_port }),
    ]
}

/// `dkimpy`, a Python library.
pub struct Dkimpy {
    dns_port: u16,
}

impl Dkimpy {
    /// Asks the DNS at this port.
    pub const fn new(dns_port: u16) -> Self {
        Self { dns_port }
    }

    /// Signs as a stranger would: `sign` or `arc`, with selector, domain and a key file.
    pub fn sign(dns_port: u16, what: &str, key: &ForeignKey, message: &[u8]) -> Vec<u8> {
        let port = dns_port.to_string();
        let mut command = Command::new(python());
        command.args(["-c", DKIMPY, what, &port, &key.selector, &key.domain, &key.file]);
        let output = command_output(command, message);
        assert!(output.ends_with(message), "dkimpy changed the message");
        output
    }
}

/// A key whose owner is not the relay.
#[derive(Debug, Clone)]
pub struct ForeignKey {
    pub selector: String,
    pub domain: String,
    /// A PEM file.
    pub file: String,
}

impl ForeignKey {
    /// Makes an RSA key in `folder`, and the records to publish.
    pub fn create(domain: &str, folder: &Path) -> (Self, String) {
        let keys = folder.join(domain);
        let mut command = Command::new(env!("CARGO_BIN_EXE_postseal"));
        command.args(["key", "create", domain, "--keys"]).arg(&keys);
        let records = String::from_utf8(command_output(command, b"")).unwrap();
        let selector = records.split("._domainkey").next().and_then(|before| before.lines().last()).unwrap().to_owned();
        let mut folders = vec![keys];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap().flatten() {
                if entry.path().is_dir() {
                    folders.push(entry.path());
                } else if entry.file_name().to_string_lossy().starts_with(&selector) {
                    return (Self { selector, domain: domain.to_owned(), file: entry.path().display().to_string() }, records);
                }
            }
        }
        panic!("no key file of {selector}");
    }
}

impl Verifier for Dkimpy {
    fn name(&self) -> &'static str {
        "dkimpy"
    }

    fn knows_ed25519(&self) -> bool {
        true
    }

    fn knows_arc(&self) -> bool {
        true
    }

    fn verify(&self, mail: &Arrived) -> Findings {
        let mut command = Command::new(python());
        command.args(["-c", DKIMPY, "verify", &self.dns_port.to_string()]);
        told(&command_output(command, &mail.octets))
    }
}

/// `Mail::DKIM`, a Perl library.
struct MailDkim {
    dns_port: u16,
}

impl Verifier for MailDkim {
    fn name(&self) -> &'static str {
        "Mail::DKIM"
    }

    fn knows_ed25519(&self) -> bool {
        false
    }

    fn knows_arc(&self) -> bool {
        true
    }

    fn verify(&self, mail: &Arrived) -> Findings {
        let mut command = Command::new("perl");
        command.args(["-e", MAIL_DKIM, &self.dns_port.to_string()]);
        told(&command_output(command, &mail.octets))
    }
}

/// `opendkim -t`, which runs a message through the milter without one.
struct OpenDkim {
    folder: TempDir,
}

impl OpenDkim {
    fn new(dns_port: u16) -> Self {
        let folder = folder("opendkim");
        let path = folder.path().display();
        let resolver = format!(
            "server:\n  do-not-query-localhost: no\n  module-config: \"iterator\"\n  username: \"\"\n  use-syslog: no\n\
             stub-zone:\n  name: \".\"\n  stub-addr: 127.0.0.1@{dns_port}\n  stub-prime: no\n"
        );
        std::fs::write(folder.path().join("unbound.conf"), resolver).unwrap();
        let user = if rustix::process::geteuid().is_root() { "UserID root\n" } else { "" };
        let config = format!(
            "Mode v\nResolverConfiguration {path}/unbound.conf\nDNSTimeout 5\nSyslog no\nAlwaysAddARHeader yes\nAuthservID opendkim.test\nMaximumSignaturesToVerify 20\n{user}"
        );
        std::fs::write(folder.path().join("opendkim.conf"), config).unwrap();
        Self { folder }
    }
}

impl Verifier for OpenDkim {
    fn name(&self) -> &'static str {
        "OpenDKIM"
    }

    fn knows_ed25519(&self) -> bool {
        true
    }

    fn knows_arc(&self) -> bool {
        false
    }

    fn verify(&self, mail: &Arrived) -> Findings {
        let file = self.folder.path().join("message.eml");
        std::fs::write(&file, &mail.octets).unwrap();
        let mut command = Command::new(program("opendkim").unwrap());
        command.args(["-f", "-vv", "-x"]).arg(self.folder.path().join("opendkim.conf")).arg("-t").arg(&file);
        let (_, said) = run(&mut command, b"");
        // hvalue='opendkim.test; dkim=pass (…) header.d=… header.i=… header.s=… …; dkim=…'
        let results = said.split_once("hvalue='").map_or("", |(_, rest)| rest.split('\'').next().unwrap_or(""));
        let results = without_comments(results);
        let mut findings = Findings::default();
        for clause in results.split(';').map(str::trim).filter(|clause| clause.starts_with("dkim=")) {
            let property = |name: &str| clause.split_whitespace().find_map(|word| word.strip_prefix(name)).unwrap_or("?").to_owned();
            let says = if clause.starts_with("dkim=pass ") { Says::Pass } else { Says::Fail(clause.to_owned()) };
            findings.dkim.insert(format!("{}._domainkey.{}", property("header.s="), property("header.d=")), says);
        }
        findings
    }
}

/// `rspamd` with nothing but DKIM, ARC, SPF and DMARC.
struct Rspamd {
    port: u16,
    _process: Process,
    _folder: TempDir,
}

impl Rspamd {
    fn start(dns_port: u16) -> Self {
        let folder = folder("rspamd");
        let port = free_port();
        let path = folder.path().display();
        let plugins = folder.path().join("plugins");
        std::fs::create_dir(&plugins).unwrap();
        for plugin in ["arc.lua", "dmarc.lua", "spf.lua"] {
            std::os::unix::fs::symlink(format!("/usr/share/rspamd/plugins/{plugin}"), plugins.join(plugin)).unwrap();
        }
        // Its own list of public suffixes takes ten seconds to compile.
        std::fs::write(folder.path().join("suffixes"), "com\nnet\norg\nexample\n").unwrap();
        let config = format!(
            r#"
            lua = "/usr/share/rspamd/rules/rspamd.lua";
            options {{
              pidfile = "{path}/pid"; filters = "dkim"; cache_file = "{path}/cache"; dynamic_conf = "{path}/dynamic"; history_file = "{path}/history";
              stats_file = "{path}/stats"; hs_cache_dir = "{path}/"; tempdir = "{path}"; control_socket = "{path}/control"; url_tld = "{path}/suffixes";
              disable_hyperscan = true; explicit_modules = []; task_timeout = 8s; local_addrs = [];
              dns {{ nameserver = ["127.0.0.1:{dns_port}"]; timeout = 2s; retransmits = 2; }}
            }}
            logging {{ type = "console"; level = "info"; }}
            worker "normal" {{ bind_socket = "127.0.0.1:{port}"; count = 1; mime = true; }}
            worker "fuzzy" {{ count = -1; }}
            worker "controller" {{ count = -1; }}
            worker "rspamd_proxy" {{ count = -1; }}
            modules {{ path = "{path}/plugins"; }}
            dkim {{ time_jitter = 6h; check_local = true; check_authed = true; max_sigs = 20; }}
            arc {{ check_local = true; check_authed = true; }}
            spf {{ check_local = true; check_authed = true; }}
            dmarc {{ check_local = true; check_authed = true; }}
            "#
        );
        let file = folder.path().join("rspamd.conf");
        std::fs::write(&file, config).unwrap();
        // -i: running as root is meant.
        let process = Process::spawn("rspamd", &program("rspamd").unwrap(), &["-f", "-i", "-c", &file.display().to_string()], &folder.path().join("log"))
            .wait_for_port(port);
        Self { port, _process: process, _folder: folder }
    }
}

impl Verifier for Rspamd {
    fn name(&self) -> &'static str {
        "rspamd"
    }

    fn knows_ed25519(&self) -> bool {
        true
    }

    fn knows_arc(&self) -> bool {
        true
    }

    fn verify(&self, mail: &Arrived) -> Findings {
        let mut command = Command::new(program("curl").unwrap());
        command.args(["-sS", "-H", "IP: 127.0.0.1", "-H", "Helo: relay.example.com", "-H", &format!("From: {}", mail.return_path), "--data-binary", "@-"]);
        command.arg(format!("http://127.0.0.1:{}/checkv2", self.port));
        let answer: Value = serde_json::from_slice(&command_output(command, &mail.octets)).unwrap();
        let symbols = &answer["symbols"];
        let options = |symbol: &str| symbols[symbol]["options"].as_array().cloned().unwrap_or_default();
        let mut findings = Findings::default();
        for (symbol, passes) in [("R_DKIM_ALLOW", true), ("R_DKIM_REJECT", false), ("R_DKIM_PERMFAIL", false), ("R_DKIM_TEMPFAIL", false)] {
            for option in options(symbol) {
                let (domain, selector) = option.as_str().unwrap().split_once(":s=").unwrap();
                findings.dkim.insert(format!("{selector}._domainkey.{domain}"), if passes { Says::Pass } else { Says::Fail(symbol.to_owned()) });
            }
        }
        let says = |symbol: &str| if symbols[symbol].is_object() { Says::Pass } else { Says::Fail(format!("no {symbol} in {symbols}")) };
        findings.arc = Some(says("ARC_ALLOW"));
        findings.spf = Some(says("R_SPF_ALLOW"));
        findings.dmarc = Some(says("DMARC_POLICY_ALLOW"));
        findings
    }
}

/// `postseal check`, as anybody calls it.
struct Postseal {
    dns_port: u16,
}

impl Verifier for Postseal {
    fn name(&self) -> &'static str {
        "postseal check"
    }

    fn knows_ed25519(&self) -> bool {
        true
    }

    fn knows_arc(&self) -> bool {
        true
    }

    fn verify(&self, mail: &Arrived) -> Findings {
        let mut command = Command::new(env!("CARGO_BIN_EXE_postseal"));
        let resolver = format!("127.0.0.1:{}", self.dns_port);
        command.args(["check", "--json", "--client-ip", "127.0.0.1", "--helo", "relay.example.com", "--resolver", &resolver, "--mail-from", &mail.return_path]);
        let (code, said) = run(&mut command, &mail.octets);
        let report: Value = serde_json::from_str(&said).unwrap_or_else(|error| panic!("exit code {code}, {error}: {said}"));
        assert_eq!(
            code,
            match report["outcome"].as_str().unwrap() {
                "accepted" => 0,
                "refused" => 2,
                _ => 3,
            },
            "{said}"
        );
        let says = |of: &Value| if of["result"] == "pass" { Says::Pass } else { Says::Fail(of.to_string()) };
        let mut findings =
            Findings { arc: Some(says(&report["arc"])), spf: Some(says(&report["spf"])), dmarc: Some(says(&report["dmarc"])), ..Findings::default() };
        for signature in report["dkim"].as_array().unwrap() {
            let key = format!("{}._domainkey.{}", signature["selector"].as_str().unwrap(), signature["domain"].as_str().unwrap_or("?"));
            findings.dkim.insert(key, says(signature));
        }
        findings
    }
}

/// The lines that `dkimpy.py` and `mail_dkim.pl` print.
fn told(output: &[u8]) -> Findings {
    let text = String::from_utf8_lossy(output);
    let says = |result: &str| match result {
        result if result.starts_with("pass") => Says::Pass,
        result if result.contains("unsupported algorithm") => Says::Unsupported,
        result => Says::Fail(result.to_owned()),
    };
    let mut findings = Findings::default();
    for line in text.lines() {
        match line.splitn(4, ' ').collect::<Vec<_>>()[..] {
            ["dkim", selector, domain, result] => {
                findings.dkim.insert(format!("{selector}._domainkey.{domain}"), says(result));
            }
            ["arc", ..] => findings.arc = Some(says(line["arc ".len()..].trim())),
            _ => panic!("not understood: {text}"),
        }
    }
    findings
}

/// Authentication-Results without what stands in parentheses, where a `;` separates nothing.
fn without_comments(text: &str) -> String {
    let mut depth = 0_usize;
    let mut kept = String::new();
    for c in text.chars() {
        match c {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            c if depth == 0 => kept.push(c),
            _ => {}
        }
    }
    kept
}

/// The standard output of a command that must succeed.
fn command_output(mut command: Command, input: &[u8]) -> Vec<u8> {
    use std::io::Write as _;
    use std::process::Stdio;
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    let writing = std::thread::spawn(move || drop(stdin.write_all(&input)));
    let output = child.wait_with_output().unwrap();
    writing.join().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

const DKIMPY: &str = include_str!("dkimpy.py");
const MAIL_DKIM: &str = include_str!("mail_dkim.pl");
