//! The set of a domain as a whole, in each format, held against files that are good as they stand; and what a zone must hold so that
//! nothing is to be done.

use postseal::config::{Config, Document};
use postseal::dns::diff::{self, State, View};
use postseal::dns::publish::plan::{self, Reason, Step};
use postseal::dns::publish::{Change, Edit, Seen, manual};
use postseal::dns::records::{self, KeyText, ReportTo, Standing, Wanted};
use postseal::dns::{Data, Kind, formats};
use postseal::mail::Domain;
use std::path::Path;
use std::time::Duration;

const KEY: &str = "v=DKIM1; k=rsa; p=MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEA1234567890abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ01\
    23456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789abcdefgh\
    ijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789abcdefghijklmnopqrstuvwxyz0123456789IDAQAB";

#[test]
fn the_whole_set_in_every_format() {
    let domain = domain("example.com");
    let wanted = set(WHOLE);
    golden("whole.zone", &formats::zone(&wanted));
    golden("whole.table.txt", &formats::table(&wanted));
    golden("whole.json", &format!("{:#}\n", formats::json(&domain, &wanted)));
    golden("whole.tf", &formats::terraform(&domain, &wanted));
}

#[test]
fn a_parked_domain_in_every_format() {
    let domain = domain("parked.example");
    let reports = ReportTo::new(vec!["dmarc@example.com".parse().unwrap()]);
    let wanted = records::parked(&domain, reports.as_ref(), false, Duration::from_hours(1));
    golden("parked.zone", &formats::zone(&wanted));
    golden("parked.tf", &formats::terraform(&domain, &wanted));
    let receiving = records::parked(&domain, None, true, Duration::from_hours(1));
    assert!(receiving.iter().all(|wanted| wanted.resource.data.kind() != Kind::Mx), "its MX records stay");
    assert!(texts(&receiving).iter().any(|text| text.ends_with("rua=mailto:dmarc@parked.example")));
    let deaf = records::parked(&domain, None, false, Duration::from_hours(1));
    assert!(texts(&deaf).iter().all(|text| !text.contains("rua=")), "no reports to a mailbox that the null MX shuts");
}

#[test]
fn a_relay_of_unknown_address_is_named() {
    let wanted = set("");
    assert!(texts(&wanted).contains(&"v=spf1 a:mx1.example.com ~all".to_owned()));
    assert!(wanted.iter().all(|wanted| !matches!(wanted.resource.data.kind(), Kind::A | Kind::Aaaa | Kind::Ptr)));
}

#[test]
fn dmarc_has_its_stage() {
    for (more, expected) in [
        ("", "v=DMARC1; p=none; rua=mailto:dmarc@example.com"),
        ("[dns]\ndmarc_policy = \"quarantine\"\ndmarc_testing = true\n", "v=DMARC1; p=quarantine; t=y; rua=mailto:dmarc@example.com"),
        ("[dns]\n[domains.\"example.com\"]\ndmarc_policy = \"reject\"\n", "v=DMARC1; p=reject; rua=mailto:dmarc@example.com"),
        ("[dns]\ndmarc_reports = [\"a@example.com\", \"b+c!d@example.com\"]\n", "v=DMARC1; p=none; rua=mailto:a@example.com,mailto:b+c%21d@example.com"),
    ] {
        assert!(texts(&set(more)).contains(&expected.to_owned()), "{more}: {:?}", texts(&set(more)));
    }
}

#[test]
fn a_logo_waits_for_a_policy() {
    let logo = "[domains.\"example.com\"]\nbimi_logo = \"https://example.com/logo.svg\"\n";
    let has_logo = |more: &str| texts(&set(&format!("{logo}{more}"))).iter().any(|text| text.starts_with("v=BIMI1"));
    assert!(!has_logo(""));
    assert!(!has_logo("dmarc_policy = \"quarantine\"\ndmarc_testing = true\n"));
    assert!(has_logo("dmarc_policy = \"quarantine\"\n"));
}

#[test]
fn reports_to_another_organisation_need_its_permission() {
    let wanted = set("[dns]\ndmarc_reports = [\"d@reports.example.net\", \"d@sub.example.com\"]\n");
    let names: Vec<String> = wanted.iter().map(|wanted| wanted.resource.owner.to_string()).filter(|name| name.contains("_report")).collect();
    assert_eq!(names, ["example.com._report._dmarc.reports.example.net"]);
}

#[test]
fn a_delegated_key_is_an_alias_and_its_target() {
    let wanted = set("[domains.\"example.com\"]\ndkim_target = \"example-com.keys.platform.example\"\n");
    let keys: Vec<(String, Kind, Standing)> = wanted
        .iter()
        .filter(|wanted| wanted.step == records::Step::Dkim)
        .map(|wanted| (wanted.resource.owner.to_string(), wanted.resource.data.kind(), wanted.standing))
        .collect();
    assert_eq!(
        keys,
        [
            ("ps202611a._domainkey.example.com".to_owned(), Kind::Cname, Standing::Theirs),
            ("ps202611a.example-com.keys.platform.example".to_owned(), Kind::Txt, Standing::Ours),
        ]
    );
}

#[test]
fn texts_are_compared_by_what_they_say() {
    let same = |a: &str, b: &str| records::equivalent(&Data::Txt(a.into()), &Data::Txt(b.into()));
    assert!(same("v=DMARC1; p=none; rua=mailto:a@example.com", "v=DMARC1;rua=mailto:a@example.com;p=NONE;"));
    assert!(same("v=spf1 ip4:192.0.2.1 ~all", "v=spf1  IP4:192.0.2.1  ~ALL"));
    assert!(same("v=DKIM1; k=rsa; p=AbC", "v=DKIM1; p=Ab C; k=rsa"));
    assert!(!same("v=DKIM1; k=rsa; p=AbC", "v=DKIM1; k=rsa; p=abc"));
    assert!(!same("v=spf1 a mx ~all", "v=spf1 mx a ~all"), "the order of terms counts");
    assert!(!same("v=DMARC1; p=none", "v=DMARC1 p=none"), "a missing semicolon is no DMARC record");
    assert!(!same("some text", "some  text"));
    let competes = |a: &str, b: &str| records::same_purpose(&Data::Txt(a.into()), &Data::Txt(b.into()));
    assert!(competes("v=DMARC1; p=none", "v=DMARC1 p=none"));
    assert!(competes("v=spf1 -all", "V=SPF1 mx"));
    assert!(!competes("v=spf1 -all", "google-site-verification=abc"));
    assert!(!competes("v=spf1 -all", "v=DMARC1; p=none"));
}

#[test]
fn a_difference_has_a_name() {
    let wanted = set("");
    let dmarc: Vec<&Wanted> = at(&wanted, "_dmarc.example.com");
    let right = "v=DMARC1; p=none; rua=mailto:dmarc@example.com";
    let state = |views: &[(&str, Result<&[&str], &str>)]| {
        let views: Vec<View> = views
            .iter()
            .map(|(server, seen)| View {
                server: (*server).to_owned(),
                seen: seen.map(|texts| texts.iter().map(|text| Data::Txt((*text).to_owned())).collect()).map_err(str::to_owned),
            })
            .collect();
        let finding = diff::compare(&dmarc, &views).remove(0);
        (finding.state, finding.notes.join("; "), diff::exit_code(&[finding]))
    };
    let (a, b) = ("a.ns.example", "b.ns.example");
    assert_eq!(state(&[(a, Ok(&[right])), (b, Ok(&[right, "unrelated"]))]), (State::Right, String::new(), 0));
    assert_eq!(state(&[(a, Ok(&[])), (b, Ok(&[]))]), (State::Missing, String::new(), 1));
    assert_eq!(state(&[(a, Ok(&["v=DMARC1; p=reject"]))]), (State::Different, String::new(), 1));
    assert_eq!(state(&[(a, Ok(&[right, "v=DMARC1; p=reject"]))]), (State::Extra, String::new(), 1));
    assert_eq!(state(&[(a, Ok(&[right])), (b, Ok(&[]))]), (State::Missing, "a.ns.example: right; b.ns.example: missing".to_owned(), 1));
    assert_eq!(state(&[(a, Ok(&[right])), (b, Err("SERVFAIL"))]), (State::Right, "b.ns.example: SERVFAIL".to_owned(), 0));
    assert_eq!(state(&[(a, Err("no answer"))]), (State::Unknown, "a.ns.example: no answer".to_owned(), 3));
}

#[test]
fn only_what_is_ours_is_replaced_unasked() {
    let wanted = set("");
    let step = |name: &str, seen: &[&str], replace: bool| {
        let seen = Seen { data: seen.iter().map(|text| Data::Txt((*text).to_owned())).collect(), ..Seen::default() };
        plan::step(&at(&wanted, name), &seen, replace).unwrap()
    };
    let after = |step: Step| match step {
        Step::Edit(Edit { after, .. }) => after.into_iter().map(|data| data.zone_text()).collect::<Vec<_>>(),
        other => panic!("{other:?}"),
    };
    let (key, dmarc, bounce) = ("ps202611a._domainkey.example.com", "_dmarc.example.com", "b.example.com");
    assert_eq!(after(step(key, &["v=DKIM1; p=", "anything"], false)), [Data::Txt(KEY.to_owned()).zone_text()], "a selector is ours alone");
    assert_eq!(step(key, &[KEY], false), Step::Right);
    assert!(matches!(step(dmarc, &["v=DMARC1; p=reject"], false), Step::LeftAlone { why: Reason::Taken { .. }, .. }));
    assert_eq!(
        after(step(dmarc, &["v=DMARC1; p=reject", "a note"], true)),
        ["\"a note\"", "\"v=DMARC1; p=none; rua=mailto:dmarc@example.com\""],
        "and what has another purpose stays even then"
    );
    assert_eq!(after(step(bounce, &["a note"], false)), ["\"a note\"", "\"v=spf1 a:mx1.example.com ~all\""]);
    let alias = Seen { alias: Some(domain("elsewhere.example")), ..Seen::default() };
    assert!(matches!(plan::step(&at(&wanted, dmarc), &alias, true), Some(Step::LeftAlone { why: Reason::Alias { .. }, .. })));
}

#[test]
fn an_spf_record_that_permits_others_too_will_do_for_the_author_domain_alone() {
    let wanted = set("[dns]\npublic_addresses = [\"192.0.2.25\"]\n[domains.\"example.com\"]\nkeep_reverse_path = true\n");
    let met = |name: &str, text: &str| at(&wanted, name)[0].is_met_by(&Data::Txt(text.to_owned()));
    assert!(met("example.com", "v=spf1 include:_spf.example.net ip4:192.0.2.25 -all"));
    assert!(!met("example.com", "v=spf1 include:_spf.example.net -all"));
    assert!(!met("b.example.com", "v=spf1 include:_spf.example.net ip4:192.0.2.25 -all"));
}

#[test]
fn a_change_is_shown_as_a_patch_and_told_as_instructions() {
    let text = |text: &str| Data::Txt(text.to_owned());
    let edit = Edit {
        owner: domain("example.com").into(),
        kind: Kind::Txt,
        ttl: Duration::from_mins(5),
        before: vec![text("a note"), text("v=spf1 mx -all")],
        after: vec![text("a note"), text("v=spf1 -all")],
    };
    let change = Change { zone: None, edits: vec![edit] };
    assert_eq!(change.to_string(), "  example.com. TXT \"a note\"\n- example.com. TXT \"v=spf1 mx -all\"\n+ example.com. 300 TXT \"v=spf1 -all\"\n");
    golden("instructions.txt", &manual::instructions(&change));
}

/// A configuration with everything that adds a record.
const WHOLE: &str = "[dns]\npublic_addresses = [\"192.0.2.25\", \"2001:db8::25\"]\nbounce_hosts = [\"mx1.example.com\", \"mx2.example.com\"]\nbounce_spf = \"fail\"\n\
    dmarc_policy = \"reject\"\ntls_reports = [\"tls@example.com\"]\nmta_sts_id = \"20261122\"\nmta_sts_host = \"www.example.com\"\n\
    [domains.\"example.com\"]\nbimi_logo = \"https://example.com/logo.svg\"\nbimi_certificate = \"https://example.com/vmc.pem\"\n\
    [pools.bulk]\nehlo_name = \"bulk.example.com\"\nsource_v4 = \"192.0.2.26\"\n[streams.bulk]\npool = \"bulk\"\n";

fn set(more: &str) -> Vec<Wanted> {
    let base = "[server]\nhostname = \"mx1.example.com\"\n[listeners.app]\naddress = \"127.0.0.1:2525\"\ntls = \"none\"\n[identities.app]\nnetworks = [\"10.0.0.0/8\"]\nauthor_domains = [\"example.com\"]\n";
    let document = Document::of(&format!("{base}{more}"), Path::new("postseal.toml"), []).unwrap();
    let config = Config::of(&document).unwrap_or_else(|faults| panic!("{faults}"));
    let keys = vec![KeyText { selector: "ps202611a".to_owned(), text: KEY.to_owned(), state: "active".to_owned() }];
    records::records(&config.sender(&domain("example.com"), keys).unwrap())
}

/// The TXT records wanted at a name.
fn at<'w>(wanted: &'w [Wanted], name: &str) -> Vec<&'w Wanted> {
    let found: Vec<&Wanted> = wanted.iter().filter(|wanted| wanted.resource.owner.to_string() == name && wanted.resource.data.kind() == Kind::Txt).collect();
    assert!(!found.is_empty(), "nothing is wanted at {name}");
    found
}

fn texts(wanted: &[Wanted]) -> Vec<String> {
    wanted.iter().filter_map(|wanted| if let Data::Txt(text) = &wanted.resource.data { Some(text.clone()) } else { None }).collect()
}

/// Holds a text against a file of `tests/dns/files`; `POSTSEAL_GOLDEN=write` writes the files anew, to be read before they are kept.
fn golden(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/dns/files").join(name);
    if std::env::var("POSTSEAL_GOLDEN").as_deref() == Ok("write") {
        std::fs::write(&path, text).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    assert_eq!(text, expected, "{name}");
}

fn domain(text: &str) -> Domain {
    text.parse().unwrap()
}
