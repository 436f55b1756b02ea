use super::domain;
use postseal::verdict::{
    Check, DkimAxis, DkimFact, Dmarc, DmarcFact, DmarcFault, Facts, Identity, Note, Policy, SpfAxis, SpfFact, Style, Verdict, dmarc_record, judge,
};
use std::collections::HashMap;

const RELAXED: &str = "v=DMARC1; p=none; rua=mailto:d@example.com";
const STRICT: &str = "v=DMARC1; p=none; aspf=s; adkim=s";
const SPF: [SpfAxis; 3] = [SpfAxis::Aligned, SpfAxis::NotAligned, SpfAxis::Fail];
const DKIM: [DkimAxis; 3] = [DkimAxis::Author, DkimAxis::ThirdParty, DkimAxis::Fail];

fn record(text: &str) -> DmarcFact {
    DmarcFact::Record { record: dmarc_record(text).unwrap(), at: domain("example.com"), author_exists: true }
}

fn signature(d: &str, result: Check) -> DkimFact {
    let why = if result == Check::Pass { "" } else { "no key" };
    DkimFact { result, domain: Some(domain(d)), selector: "s1".into(), algorithm: "rsa-sha256".into(), why: why.into() }
}

/// Mail of example.com: SPF checked for `spf`, one signature of `d`.
fn facts(spf: (&str, Check), d: (&str, Check), dmarc: DmarcFact, bulk: bool) -> Facts {
    let organizations: HashMap<_, _> = ["example.com", "b.example.com", "mail.example.com"].map(|name| (domain(name), domain("example.com"))).into();
    Facts {
        author: domain("example.com"),
        spf: SpfFact { result: spf.1, domain: Some(domain(spf.0)), identity: Identity::MailFrom },
        dkim: vec![signature(d.0, d.1)],
        dmarc,
        organizations,
        bulk,
    }
}

fn cell(spf: SpfAxis, dkim: DkimAxis, dmarc: DmarcFact, bulk: bool) -> Verdict {
    let spf = match spf {
        SpfAxis::Aligned => ("example.com", Check::Pass),
        SpfAxis::NotAligned => ("example.net", Check::Pass),
        SpfAxis::Fail => ("example.com", Check::None),
    };
    let dkim = match dkim {
        DkimAxis::Author => ("example.com", Check::Pass),
        DkimAxis::ThirdParty => ("gappssmtp.com", Check::Pass),
        DkimAxis::Fail => ("example.com", Check::Fail),
    };
    judge(&facts(spf, dkim, dmarc, bulk))
}

/// Row by row: with a record DMARC's result; Gmail's codes for a bulk sender with a record, for one without, for a small sender.
const CELLS: [(bool, &str, &str, &str); 9] = [
    (true, "", "4.7.31 4.7.40 5.7.40", ""),
    (true, "", "4.7.31 4.7.40 5.7.40", ""),
    (true, "4.7.30 5.7.30", "4.7.30 5.7.30", ""),
    (true, "", "4.7.31 4.7.40 5.7.40", ""),
    (false, "4.7.32 5.7.32", "4.7.32 5.7.32", ""),
    (false, "5.7.30 5.7.32", "5.7.30 5.7.32", ""),
    (true, "4.7.27 5.7.27", "4.7.27 5.7.27", ""),
    (false, "5.7.27 5.7.32", "5.7.27 5.7.32", ""),
    (false, "4.7.26 5.7.26", "4.7.26 5.7.26", "5.7.26"),
];

#[test]
fn all_nine_cells_with_and_without_a_record_bulk_or_not_relaxed_or_strict() {
    for (place, (passes, bulk_codes, bare_codes, small_codes)) in CELLS.into_iter().enumerate() {
        let (spf, dkim) = (SPF[place / 3], DKIM[place % 3]);
        let ignored = DmarcFact::Ignored { text: "v=DMARC1 p=none".into(), fault: dmarc_record("v=DMARC1 p=none").unwrap_err() };
        for (dmarc, has_record) in [(record(RELAXED), true), (record(STRICT), true), (DmarcFact::Missing, false), (ignored, false)] {
            let is_missing = dmarc == DmarcFact::Missing;
            for bulk in [true, false] {
                let verdict = cell(spf, dkim, dmarc.clone(), bulk);
                let case = format!("{spf:?} {dkim:?} record {has_record} bulk {bulk}");
                assert_eq!((verdict.spf_axis, verdict.dkim_axis), (spf, dkim), "{case}");
                let expect = match (has_record, passes) {
                    (false, _) => Dmarc::None,
                    (true, true) => Dmarc::Pass,
                    (true, false) => Dmarc::Fail,
                };
                assert_eq!(verdict.dmarc, expect, "{case}");
                let codes = match (bulk, has_record) {
                    (true, true) => bulk_codes,
                    (true, false) => bare_codes,
                    (false, _) => small_codes,
                };
                assert_eq!(verdict.gmail.codes.join(" "), codes, "{case}");
                assert_eq!(verdict.gmail.accepts, codes.is_empty(), "{case}");
                assert_eq!((verdict.yahoo.accepts, verdict.microsoft.accepts), (codes.is_empty(), codes.is_empty()), "{case}");
                if bulk && !codes.is_empty() {
                    assert_eq!(verdict.microsoft.codes, ["550 5.7.515"], "{case}");
                }
                assert_eq!(verdict.both_aligned, place == 0, "{case}");
                assert_eq!(verdict.fix_first.is_none(), place == 0 && has_record, "{case}");
                assert_eq!(verdict.notes.contains(&Note::NoRecord), is_missing, "{case}");
                assert_eq!(verdict.notes.iter().any(|note| matches!(note, Note::RecordIgnored(_))), !has_record && !is_missing, "{case}");
                assert_eq!(verdict.notes.contains(&Note::NotBulk), !bulk, "{case}");
            }
        }
    }
}

#[test]
fn in_all_nine_cells_a_record_that_is_not_known_leaves_it_open() {
    for (place, (_, bulk_codes, _, small_codes)) in CELLS.into_iter().enumerate() {
        for (bulk, codes) in [(true, bulk_codes), (false, small_codes)] {
            let verdict = cell(SPF[place / 3], DKIM[place % 3], DmarcFact::Unknown, bulk);
            assert_eq!((verdict.dmarc, verdict.policy, verdict.gmail.accepts), (Dmarc::TempError, None, false), "{place} {bulk}");
            let mut expect: Vec<&str> = codes.split_whitespace().collect();
            if !expect.contains(&"4.7.26") {
                expect.push("4.7.26");
            }
            assert_eq!(verdict.gmail.codes, expect, "{place} {bulk}");
            assert_eq!((verdict.yahoo.codes, verdict.microsoft.codes), (vec!["451"], vec!["451"]), "{place} {bulk}");
        }
    }
}

#[test]
fn in_all_nine_cells_the_policy_decides_for_small_senders_and_strictness_moves_subdomains() {
    for (place, (passes, ..)) in CELLS.into_iter().enumerate() {
        for bulk in [true, false] {
            let verdict = cell(SPF[place / 3], DKIM[place % 3], record("v=DMARC1; p=reject"), bulk);
            assert_eq!(verdict.gmail.codes.contains(&"5.7.26"), !passes || (place == 8), "{place} {bulk}");
            let quarantined = cell(SPF[place / 3], DKIM[place % 3], record("v=DMARC1; p=quarantine"), bulk);
            assert_eq!(quarantined.notes.contains(&Note::Quarantined), !passes, "{place} {bulk}");
        }
        // The same cells, reached by subdomains: strictness moves the aligned ones one place on.
        let spf = [("b.example.com", Check::Pass), ("example.net", Check::Pass), ("b.example.com", Check::None)][place / 3];
        let dkim = [("mail.example.com", Check::Pass), ("gappssmtp.com", Check::Pass), ("mail.example.com", Check::Fail)][place % 3];
        let strict = judge(&facts(spf, dkim, record(STRICT), true));
        let relaxed = judge(&facts(spf, dkim, record(RELAXED), true));
        assert_eq!((relaxed.spf_axis, relaxed.dkim_axis), (SPF[place / 3], DKIM[place % 3]), "{place}");
        let moved = (if place / 3 == 0 { SpfAxis::NotAligned } else { SPF[place / 3] }, if place % 3 == 0 { DkimAxis::ThirdParty } else { DKIM[place % 3] });
        assert_eq!((strict.spf_axis, strict.dkim_axis, strict.dmarc), (moved.0, moved.1, Dmarc::Fail), "{place}");
    }
}

#[test]
fn strict_mode_takes_subdomains_out_of_alignment() {
    let mail = |text| judge(&facts(("b.example.com", Check::Pass), ("mail.example.com", Check::Pass), record(text), true));
    let relaxed = mail(RELAXED);
    assert_eq!((relaxed.spf_axis, relaxed.dkim_axis, relaxed.both_aligned), (SpfAxis::Aligned, DkimAxis::Author, true));
    assert!(!relaxed.notes.iter().any(|note| matches!(note, Note::StrictSpf(_) | Note::StrictDkim(_))));
    let strict = mail(STRICT);
    assert_eq!((strict.spf_axis, strict.dkim_axis, strict.dmarc), (SpfAxis::NotAligned, DkimAxis::ThirdParty, Dmarc::Fail));
    for note in [Note::StrictSpf(domain("b.example.com")), Note::StrictDkim(domain("mail.example.com"))] {
        assert!(strict.notes.contains(&note), "{note}");
    }
    let only_spf = mail("v=DMARC1; p=none; aspf=s");
    assert_eq!((only_spf.spf_axis, only_spf.dkim_axis), (SpfAxis::NotAligned, DkimAxis::Author));
}

#[test]
fn alignment_asks_for_the_organisation_the_tree_walk_found() {
    let mut facts = facts(("b.example.com", Check::Pass), ("example.com", Check::Fail), record(RELAXED), true);
    facts.organizations.insert(domain("b.example.com"), domain("b.example.com"));
    assert_eq!(judge(&facts).spf_axis, SpfAxis::NotAligned, "a record with psd=n of its own parts it from example.com");
    facts.dmarc = DmarcFact::Missing;
    assert_eq!(judge(&facts).spf_axis, SpfAxis::Aligned, "without a record there are no organisations yet");
}

#[test]
fn only_a_pass_is_a_pass() {
    for result in [Check::Fail, Check::SoftFail, Check::Neutral, Check::None, Check::TempError, Check::PermError] {
        let verdict = judge(&facts(("example.com", result), ("example.com", result), record(RELAXED), true));
        assert_eq!((verdict.spf_axis, verdict.dkim_axis), (SpfAxis::Fail, DkimAxis::Fail), "{result}");
        let expect = match result {
            Check::None => None,
            Check::Fail => Some(Note::SpfHardFail),
            other => Some(Note::SpfIsNoPass(other)),
        };
        let found = verdict.notes.iter().find(|note| matches!(note, Note::SpfHardFail | Note::SpfIsNoPass(_)));
        assert_eq!(found, expect.as_ref(), "{result}");
    }
}

#[test]
fn one_author_signature_that_passes_is_enough_but_yahoo_wants_all() {
    let mut facts = facts(("b.example.com", Check::Pass), ("example.com", Check::Pass), record(RELAXED), true);
    assert!(!judge(&facts).notes.contains(&Note::NotAllAlignedSignaturesPass));
    facts.dkim.insert(0, signature("amazonses.com", Check::Fail));
    assert!(!judge(&facts).notes.contains(&Note::NotAllAlignedSignaturesPass), "a stranger's does not matter");
    facts.dkim.insert(0, signature("example.com", Check::PermError));
    let verdict = judge(&facts);
    assert_eq!((verdict.dkim_axis, verdict.gmail.accepts), (DkimAxis::Author, true));
    assert!(verdict.notes.contains(&Note::NotAllAlignedSignaturesPass));
}

#[test]
fn policies_are_carried_out_on_failures_only() {
    for (text, policy, small_accepts) in [
        ("v=DMARC1; p=none", Policy::None, true),
        ("v=DMARC1; p=quarantine", Policy::Quarantine, true),
        ("v=DMARC1; p=reject", Policy::Reject, false),
        ("v=DMARC1; p=reject; t=y", Policy::Quarantine, true),
    ] {
        let fails = cell(SpfAxis::NotAligned, DkimAxis::ThirdParty, record(text), false);
        assert_eq!((fails.policy, fails.gmail.accepts), (Some(policy), small_accepts), "{text}");
        assert_eq!(fails.notes.contains(&Note::Quarantined), policy == Policy::Quarantine, "{text}");
        assert_eq!(fails.notes.contains(&Note::TestMode), text.contains("t=y"), "{text}");
        assert!(cell(SpfAxis::NotAligned, DkimAxis::Author, record(text), false).gmail.accepts, "{text}");
    }
    assert!(cell(SpfAxis::NotAligned, DkimAxis::ThirdParty, record("v=DMARC1; p=reject"), true).gmail.codes.contains(&"5.7.26"));
}

#[test]
fn spf_alone_under_reject_is_warned_of() {
    let reject = "v=DMARC1; p=reject";
    for (dkim, warned) in [(DkimAxis::Author, false), (DkimAxis::ThirdParty, true), (DkimAxis::Fail, true)] {
        assert_eq!(cell(SpfAxis::Aligned, dkim, record(reject), true).notes.contains(&Note::SpfAloneUnderReject), warned);
        assert!(!cell(SpfAxis::Aligned, dkim, record(RELAXED), true).notes.contains(&Note::SpfAloneUnderReject));
    }
}

#[test]
fn a_notice_is_judged_by_its_ehlo_name() {
    let mut facts = facts(("mail.example.com", Check::Pass), ("example.com", Check::Pass), record(RELAXED), true);
    facts.spf.identity = Identity::Helo;
    let verdict = judge(&facts);
    assert!(verdict.both_aligned && verdict.notes.contains(&Note::HeloIdentity));
}

#[test]
fn dns_trouble_is_neither_pass_nor_fail() {
    let verdict = cell(SpfAxis::Aligned, DkimAxis::Author, DmarcFact::Unknown, true);
    assert_eq!((verdict.dmarc, verdict.gmail.accepts, verdict.gmail.codes), (Dmarc::TempError, false, vec!["4.7.26"]));
}

#[test]
fn a_key_that_could_not_be_asked_for_is_no_reason_to_sign() {
    let facts = facts(("b.example.com", Check::TempError), ("example.com", Check::TempError), record(RELAXED), true);
    let fix = judge(&facts).fix_first.unwrap();
    assert!(fix.contains("--resolver") && !fix.contains("Sign"), "{fix}");
}

#[test]
fn a_record_that_is_ignored_says_how_to_mend_it() {
    let text = "v=DMARC1 p=none rua=mailto:d@example.com";
    let fault = dmarc_record(text).unwrap_err();
    let verdict = cell(SpfAxis::Aligned, DkimAxis::Author, DmarcFact::Ignored { text: text.into(), fault: fault.clone() }, true);
    assert_eq!((verdict.dmarc, verdict.gmail.codes.as_slice()), (Dmarc::None, ["4.7.31", "4.7.40", "5.7.40"].as_slice()));
    assert!(verdict.notes.contains(&Note::RecordIgnored(fault)));
    assert!(verdict.fix_first.unwrap().contains("v=DMARC1; p=none; rua=mailto:d@example.com"));
    let empty = cell(SpfAxis::Aligned, DkimAxis::Author, record("v=DMARC1"), true);
    assert_eq!((empty.dmarc, empty.policy), (Dmarc::None, None));
    assert!(empty.notes.contains(&Note::RecordIgnored(DmarcFault::NoPolicy)));
}

#[test]
fn the_matrix_looks_like_this() {
    let verdict = cell(SpfAxis::Aligned, DkimAxis::Fail, record("v=DMARC1; p=reject; rua=mailto:d@example.com"), true);
    assert_eq!(
        verdict.matrix(Style { colours: false, boxes: true }),
        "                  DKIM:
                  author signature    third party only    fail or none       
                 ┌───────────────────┬───────────────────┬───────────────────┐
SPF: pass,       │  DMARC pass       │  DMARC pass       │> DMARC pass      <│
     aligned     │  Gmail pass       │  Gmail pass       │> Gmail FAIL      <│
                 ├───────────────────┼───────────────────┼───────────────────┤
SPF: pass,       │  DMARC pass       │  DMARC FAIL       │  DMARC FAIL       │
     not aligned │  Gmail pass       │  Gmail FAIL       │  Gmail FAIL       │
                 ├───────────────────┼───────────────────┼───────────────────┤
SPF: fail        │  DMARC pass       │  DMARC FAIL       │  DMARC FAIL       │
     or none     │  Gmail FAIL       │  Gmail FAIL       │  Gmail FAIL       │
                 └───────────────────┴───────────────────┴───────────────────┘

Result: DMARC pass (policy reject).
        Gmail FAIL, answers 4.7.30 or 5.7.30.
        Yahoo FAIL, answers 554.
        Microsoft FAIL, answers 550 5.7.515.
Why:    SPF passes for example.com, which is aligned with the author domain
        example.com; no DKIM signature passes: example.com (no key).
Fix:    Sign with a DKIM key of example.com and publish its public half; that
        passes wherever the mail is relayed.
Note:   Yahoo and Microsoft judge bulk mail by the same nine cells.
Note:   Under p=reject only SPF passes aligned; forwarding breaks SPF, so the
        author domain must sign, too (RFC 9989 §7.4).
"
    );
}

#[test]
fn the_matrix_fits_any_terminal() {
    let long = format!("{}.example.com", ["a".repeat(60), "b".repeat(60)].join("."));
    for place in 0..9 {
        let mut facts = facts(("b.example.com", Check::Pass), (long.as_str(), Check::Pass), record(STRICT), place % 2 == 0);
        facts.dkim[0].why = "x\u{1b}[31m\r\n".repeat(30);
        for verdict in [judge(&facts), cell(SPF[place / 3], DKIM[place % 3], DmarcFact::Missing, true)] {
            let plain = verdict.matrix(Style::default());
            assert!(plain.replace('§', "").is_ascii(), "{plain}");
            for boxes in [false, true] {
                let text = verdict.matrix(Style { colours: false, boxes });
                assert!(text.lines().all(|line| line.chars().count() <= 80 && !line.contains(['\u{1b}', '\r'])), "{text}");
                assert_eq!(text.matches("> ").count(), 2, "one cell of two lines is marked");
                let coloured = verdict.matrix(Style { colours: true, boxes });
                let mut bare = coloured.clone();
                for code in ["\x1b[0m", "\x1b[34m", "\x1b[33m", "\x1b[31m", "\x1b[34;7m", "\x1b[33;7m", "\x1b[31;7m"] {
                    bare = bare.replace(code, "");
                }
                assert_eq!(bare, text, "colours change nothing else");
                assert_eq!(coloured.matches(";7m").count(), 2);
            }
        }
    }
}
