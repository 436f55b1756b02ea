//! Messages with DKIM signatures that are right, wrong or odd, each genuine but for what its name says, with the word of RFC 8601 that the
//! standards ask for. Every case has a selector of its own, so that one zone holds the keys of all.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD as BASE64, STANDARD_NO_PAD};
use postseal::mail::{Field, Headers};
use postseal::seal::dkim::canonical::{select, sha256};
use postseal::seal::dkim::signature::{TagList, canonical_fields};
use postseal::seal::dkim::{BodyHash, Canonicalization};
use rsa::pkcs8::{DecodePrivateKey as _, EncodePublicKey as _};
use rsa::{Pkcs1v15Sign, RsaPrivateKey};

/// One message.
pub struct Odd {
    /// What is odd about it.
    pub name: &'static str,
    /// What the standards make of it.
    pub expect: &'static str,
    /// All octets.
    pub message: String,
    /// `s=`.
    pub selector: String,
    /// The TXT records at `selector._domainkey.example.com`.
    pub records: Vec<String>,
}

/// Who signs; the tags of the signature but for `b=`, with `BH` for the body's hash; what the key records say (`P` for the key); what is
/// changed afterwards.
struct Recipe {
    name: &'static str,
    expect: &'static str,
    tags: &'static str,
    records: &'static [&'static str],
    edit: fn(String) -> String,
    key: &'static str,
}

const MAIL: &str = "From: App <app@example.com>\r\nTo: jane@example.net\r\nSubject: hello  there\r\nDate: Sun, 22 Nov 2026 01:18:45 +0000\r\n\
                    Message-ID: <1@example.com>\r\n\r\nHello.  \r\n\r\nBye.\r\n\r\n\r\n";
const TAGS: &str = "v=1; a=rsa-sha256; c=relaxed/relaxed; d=example.com; s=S; h=from:to:subject; bh=BH";
const RECORD: &[&str] = &["v=DKIM1; k=rsa; p=P"];
const PLAIN: Recipe = Recipe { name: "", expect: "pass", tags: TAGS, records: RECORD, edit: |text| text, key: RSA_1024 };

fn recipes() -> Vec<Recipe> {
    vec![
        Recipe { name: "plain", ..PLAIN },
        Recipe { name: "simple by default", tags: "v=1; a=rsa-sha256; d=example.com; s=S; h=from:to:subject; bh=BH", ..PLAIN },
        Recipe { name: "relaxed header alone", tags: "v=1; a=rsa-sha256; c=relaxed; d=example.com; s=S; h=from; bh=BH", ..PLAIN },
        Recipe { name: "absent fields named", tags: "v=1; a=rsa-sha256; c=relaxed/relaxed; d=example.com; s=S; h=from:from:cc:x-y; bh=BH", ..PLAIN },
        Recipe { name: "names DKIM-Signature", tags: "v=1; a=rsa-sha256; c=relaxed/relaxed; d=example.com; s=S; h=from:dkim-signature; bh=BH", ..PLAIN },
        Recipe { name: "unknown tags", tags: "v=1; a=rsa-sha256; c=relaxed/relaxed; d=example.com; s=S; zz=1; h=from; bh=BH", ..PLAIN },
        Recipe { name: "signed in the future", tags: "v=1; a=rsa-sha256; c=relaxed/relaxed; d=example.com; s=S; t=4102444800; h=from; bh=BH", ..PLAIN },
        Recipe { name: "d in capitals", tags: "v=1; a=rsa-sha256; c=relaxed/relaxed; d=Example.COM; s=S; h=from; bh=BH", ..PLAIN },
        Recipe { name: "l of the whole body", tags: "v=1; a=rsa-sha256; c=relaxed/relaxed; d=example.com; s=S; l=16; h=from; bh=BH", ..PLAIN },
        Recipe {
            name: "l and an addition",
            tags: "v=1; a=rsa-sha256; c=relaxed/relaxed; d=example.com; s=S; l=14; h=from; bh=BH",
            edit: |text| text + "Added.\r\n",
            ..PLAIN
        },
        Recipe { name: "i below d", tags: "v=1; a=rsa-sha256; c=relaxed/relaxed; d=example.com; i=@a.example.com; s=S; h=from; bh=BH", ..PLAIN },
        Recipe { name: "bare key without v", records: &["p=P"], ..PLAIN },
        Recipe { name: "testing key", records: &["v=DKIM1; k=rsa; t=y; p=P"], ..PLAIN },
        Recipe { name: "key for mail, folded", records: &["v=DKIM1; k=rsa; h=sha1 : sha256; s=other : email; n=note; p=P"], ..PLAIN },
        Recipe { name: "padding left out", edit: unpadded, ..PLAIN },
        Recipe { name: "one good record of two", records: &["v=DKIM1; k=rsa; p=AAAA", "v=DKIM1; k=rsa; p=P"], ..PLAIN },
        //
        Recipe {
            name: "l beyond the body",
            expect: "permerror",
            tags: "v=1; a=rsa-sha256; c=relaxed/relaxed; d=example.com; s=S; l=99; h=from; bh=BH",
            ..PLAIN
        },
        Recipe { name: "From unsigned", expect: "permerror", tags: "v=1; a=rsa-sha256; c=relaxed/relaxed; d=example.com; s=S; h=to:subject; bh=BH", ..PLAIN },
        Recipe { name: "expired", expect: "neutral", tags: "v=1; a=rsa-sha256; c=relaxed/relaxed; d=example.com; s=S; t=1; x=2; h=from; bh=BH", ..PLAIN },
        Recipe {
            name: "x before t",
            expect: "neutral",
            tags: "v=1; a=rsa-sha256; c=relaxed/relaxed; d=example.com; s=S; t=4102444800; x=4102444799; h=from; bh=BH",
            ..PLAIN
        },
        Recipe {
            name: "i elsewhere",
            expect: "permerror",
            tags: "v=1; a=rsa-sha256; c=relaxed/relaxed; d=example.com; i=@example.net; s=S; h=from; bh=BH",
            ..PLAIN
        },
        Recipe {
            name: "i that only looks below",
            expect: "permerror",
            tags: "v=1; a=rsa-sha256; c=relaxed/relaxed; d=example.com; i=@badexample.com; s=S; h=from; bh=BH",
            ..PLAIN
        },
        Recipe {
            name: "i below d and strict key",
            expect: "permerror",
            tags: "v=1; a=rsa-sha256; c=relaxed/relaxed; d=example.com; i=@a.example.com; s=S; h=from; bh=BH",
            records: &["v=DKIM1; k=rsa; t=s; p=P"],
            ..PLAIN
        },
        Recipe { name: "no version", expect: "neutral", tags: "a=rsa-sha256; c=relaxed/relaxed; d=example.com; s=S; h=from; bh=BH", ..PLAIN },
        Recipe { name: "version 2", expect: "neutral", tags: "v=2; a=rsa-sha256; c=relaxed/relaxed; d=example.com; s=S; h=from; bh=BH", ..PLAIN },
        Recipe { name: "a tag twice", expect: "neutral", tags: "v=1; a=rsa-sha256; c=relaxed/relaxed; d=example.com; s=S; s=S; h=from; bh=BH", ..PLAIN },
        Recipe { name: "an empty tag", expect: "neutral", tags: "v=1; a=rsa-sha256;; c=relaxed/relaxed; d=example.com; s=S; h=from; bh=BH", ..PLAIN },
        Recipe { name: "unknown canonicalization", expect: "neutral", tags: "v=1; a=rsa-sha256; c=loose/loose; d=example.com; s=S; h=from; bh=BH", ..PLAIN },
        Recipe { name: "unknown query", expect: "neutral", tags: "v=1; a=rsa-sha256; c=relaxed/relaxed; d=example.com; s=S; q=http; h=from; bh=BH", ..PLAIN },
        Recipe { name: "body changed", expect: "fail", edit: |text| text.replace("Bye", "Buy"), ..PLAIN },
        Recipe { name: "field changed", expect: "fail", edit: |text| text.replace("hello", "hallo"), ..PLAIN },
        Recipe { name: "form feed for a space", expect: "fail", edit: |text| text.replace("hello  there", "hello\x0cthere"), ..PLAIN },
        Recipe { name: "no key", expect: "permerror", records: &[], ..PLAIN },
        Recipe { name: "revoked key", expect: "permerror", records: &["v=DKIM1; k=rsa; p="], ..PLAIN },
        Recipe { name: "key for TLS reports", expect: "permerror", records: &["v=DKIM1; k=rsa; s=tlsrpt; p=P"], ..PLAIN },
        Recipe { name: "key for sha1", expect: "permerror", records: &["v=DKIM1; k=rsa; h=sha1; p=P"], ..PLAIN },
        Recipe { name: "key of another kind", expect: "permerror", records: &["v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="], ..PLAIN },
        Recipe { name: "key of another version", expect: "permerror", records: &["v=DKIM2; k=rsa; p=P"], ..PLAIN },
        Recipe { name: "key with v last", expect: "permerror", records: &["k=rsa; p=P; v=DKIM1"], ..PLAIN },
        Recipe { name: "key of 512 bits", expect: "policy", key: RSA_512, ..PLAIN },
    ]
}

/// All of them.
pub fn all() -> Vec<Odd> {
    let make = |(number, recipe): (usize, Recipe)| {
        let selector = format!("c{number}");
        let private = RsaPrivateKey::from_pkcs8_der(&BASE64.decode(recipe.key).unwrap()).unwrap();
        let public = BASE64.encode(private.to_public_key().to_public_key_der().unwrap().as_bytes());
        let message = (recipe.edit)(signed(&private, &recipe.tags.replace("s=S", &format!("s={selector}")), MAIL));
        let records = recipe.records.iter().map(|record| record.replace("p=P", &format!("p={public}"))).collect();
        Odd { name: recipe.name, expect: recipe.expect, message, selector, records }
    };
    recipes().into_iter().enumerate().map(make).collect()
}

/// The message under a DKIM-Signature of these tags (RFC 6376 §3.7), whatever they say.
fn signed(key: &RsaPrivateKey, tags: &str, message: &str) -> String {
    let headers = Headers::parse(message.as_bytes()).unwrap();
    let body = &message.as_bytes()[headers.body_start()..];
    let read = TagList::parse(tags).ok();
    let value = |name: &str| read.as_ref().and_then(|list| list.value(name));
    let form = |name: &str| if name == "relaxed" || name == "loose" { Canonicalization::Relaxed } else { Canonicalization::Simple };
    let c = value("c").or_else(|| tags.contains("c=relaxed/relaxed").then_some("relaxed/relaxed")).unwrap_or("simple/simple");
    let (header_form, body_form) = c.split_once('/').map_or((form(c), Canonicalization::Simple), |(header, body)| (form(header), form(body)));
    let hash = match value("l").and_then(|l| l.parse::<usize>().ok()) {
        None => *BodyHash::of(body, body_form).octets(),
        Some(length) => {
            let mut canonical = Vec::new();
            body_form.body(body, &mut |octets| canonical.extend_from_slice(octets));
            sha256(&canonical[..length.min(canonical.len())])
        }
    };
    let field = format!("DKIM-Signature: {}; b=", tags.replace("BH", &BASE64.encode(hash)));
    let names: Vec<&str> = value("h").unwrap_or("from").split(':').collect();
    let fields: Vec<Field<'_>> = headers.iter().collect();
    let mut canonical = canonical_fields(&select(&fields, &names), header_form);
    let (name, text) = field.split_once(':').unwrap();
    header_form.field_parts(name, text.as_bytes(), &mut canonical);
    if header_form == Canonicalization::Relaxed {
        canonical.truncate(canonical.len() - 2);
    }
    // DigestInfo of SHA-256 (RFC 8017 §9.2).
    let info = [b"\x30\x31\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x01\x05\x00\x04\x20".as_slice(), &sha256(&canonical)].concat();
    let signature = key.sign(Pkcs1v15Sign::new_unprefixed(), &info).unwrap();
    format!("{field}{}\r\n{message}", BASE64.encode(signature))
}

/// Without the padding of `b=`.
#[allow(clippy::needless_pass_by_value, reason = "every edit of a recipe has this form")]
fn unpadded(text: String) -> String {
    let (field, rest) = text.split_once("\r\n").unwrap();
    let (start, value) = field.split_once("; b=").unwrap();
    format!("{start}; b={}\r\n{rest}", STANDARD_NO_PAD.encode(BASE64.decode(value).unwrap()))
}

/// Throw-away keys: RSA with 1024 bits, which RFC 8301 §3.2 still accepts, and with 512, which it does not.
const RSA_1024: &str = concat!(
    "MIICdwIBADANBgkqhkiG9w0BAQEFAASCAmEwggJdAgEAAoGBALrZBp+Fu2rLkjEgHLBSQQFcNZpw2MjeqJ1kGlrDWo0NcCZPYy/oQiQAE9iWj7aVUC5+IqBTp0f0OwQYESJSSXXL+vuD",
    "gc4xzD3Uisfg3eLQTz8YhBS4wFw5fq0AeaMhnRqa9iyV6KFZ1zPCwMzXGxBGANgYySyMPhTr9T1sDXcpAgMBAAECgYBsD0OjUmZXlzAPNTEiUA/ER53Ame7mDM+bZt9PCpf9532qylLk",
    "zAAkbd8Mbdbjk2rx2IUSEA84r+jJr1mJbemJNf2vipM8a6CpASBAJ5c3E5YEa6gMESEALEFHiROuL5MjrJGK/+PeCX+tlv0oSI2/j8KZhpnb6USTcn5OMM2SuQJBAPbxYJAZMl2XgR73",
    "byICKehBtxqa2Fg3d1133EMY+VEDJbOuw+yveCLD4PiGF2zpBc5C25vSyPRAnbwnF2MBNwMCQQDBs2Wk+Q/m3hNho36ENWMplry7N2JvqDYhu/rGn2pX5M/8kttaKmIXHcIVCNObuyNa",
    "kAj9KZissgQBf+37IrtjAkEA0zfy2E40/kiwcMRDkls3bSmIbIE1u3714kS7acjat6hxfxdlDfWoVFQnAWvwbX+DL8GQBeBtcj4yrNTi9BP98QJAP302vskoDisSPTmimWEKXLJcsByq",
    "NiDzhUEhJINSDvcfuRDFtxsXRa5qVAytl2jSYLe/SoOc2FYM/BTbgypSMwJBANcnERdz+oUoXWuhHVQeJtzgJLtwnMljYQ1Lc1I0rL667etQVd0xNgZgxIKUibSMFfKZ7THI/MS7wQq+",
    "dFaOg4Q=",
);
const RSA_512: &str = concat!(
    "MIIBVQIBADANBgkqhkiG9w0BAQEFAASCAT8wggE7AgEAAkEAthlPg1Zf6axGvxmHeI71/arCGJ4ZXKvErYHP4VOb2hQKbCmlNi2CTfCzCxaU3gaKmdix6la1zPF2/1IO2u4pgwIDAQAB",
    "AkEAqor13ulMForUDzGXoJ8zXwlHksqusg3kuyLyT/N/6TJ7SrOolh3ffcjEnfXLKskObs/zbJiFDic3PNxuwUhLoQIhANj76s3QOUeE4z9P0MUaKvhlyOPAlgdBLgJv2XT+TW1JAiEA",
    "1teUQWxACGLMXBaFer5XxlK7lgVVMybm+h6xJr8xnGsCIQC7qORiK/veBugjEXyVexQ+0Ij1sNIQZCbOpL2FmYqNQQIgTXNGJRerNdq4JXKRCCDab8qfiYO+pUQe/IhYAMnoTqUCIApM",
    "J71Ttc4Wop9c6BdNUw2QsJHBMOUPXU/buxwZ/HEz",
);
