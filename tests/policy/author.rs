//! Address lists and the one author: the same answer for every reader, or none.

use postseal::mail::author::{addresses, author, foreign_author, has_encoded_address};
use postseal::mail::{Address, AuthorFault, Headers};
use proptest::prelude::*;

/// `name <address>` for each address found, or the fault.
fn read(value: &str) -> Result<Vec<String>, AuthorFault> {
    addresses(value.as_bytes()).map(|list| list.into_iter().map(show).collect())
}

fn show(address: Address) -> String {
    match address.display_name {
        Some(name) => format!("{name} <{}>", address.mailbox),
        None => address.mailbox.to_string(),
    }
}

#[test]
fn reads_the_forms_of_rfc_5322() {
    for (value, expect) in [
        (" a@example.com\r\n", "a@example.com"),
        ("<a@example.com>", "a@example.com"),
        ("Ann Lee <A.Lee@Example.COM>", "Ann Lee <A.Lee@example.com>"),
        ("\"Lee, Ann\" <a@example.com>", "Lee, Ann <a@example.com>"),
        ("\"quote \\\" and \\\\\" <a@example.com>", "quote \" and \\ <a@example.com>"),
        ("John Q. Public <jqp@example.com>", "John Q. Public <jqp@example.com>"),
        ("Ann\r\n Lee\r\n\t<a@example.com>\r\n", "Ann Lee <a@example.com>"),
        ("a@example.com (Ann Lee)", "a@example.com"),
        ("(before) Ann (a \\) comment (in) one) Lee (x) <a@example.com> (after)", "Ann Lee <a@example.com>"),
        ("Ann < a@example.com >", "Ann <a@example.com>"),
        ("\"a b\"@example.com", "\"a b\"@example.com"),
        ("\"a@b\"@example.com", "\"a@b\"@example.com"),
        ("<\"a,b>\"@example.com>", "\"a,b>\"@example.com"),
        ("a@[192.0.2.1]", "a@[192.0.2.1]"),
        ("\"\" <a@example.com>", " <a@example.com>"),
        ("=?utf-8?B?5L2Q6Jek?= <a@example.com>", "=?utf-8?B?5L2Q6Jek?= <a@example.com>"),
        ("佐藤 <用户@例子.example>", "佐藤 <用户@xn--fsqu00a.example>"),
    ] {
        assert_eq!(read(value).unwrap_or_else(|fault| panic!("{value:?}: {fault}")), [expect], "{value:?}");
    }
    assert_eq!(read("a@x.example, B <b@x.example> ,\r\n \"c, d\" <c@x.example>").unwrap(), ["a@x.example", "B <b@x.example>", "c, d <c@x.example>"]);
}

#[test]
fn a_display_name_never_becomes_the_author() {
    for value in [
        "\"boss@bank.example\" <a@example.com>",
        "\"boss@bank.example\" (boss@bank.example) <a@example.com>",
        "\"<boss@bank.example>,\" <a@example.com>",
        "=?utf-8?Q?boss=40bank=2Eexample=3E=2C?= <a@example.com>",
        "=?utf-8?B?Ym9zc0BiYW5rLmV4YW1wbGU=?= <a@example.com>",
        "(boss@bank.example) a@example.com",
        "a@example.com (, boss@bank.example)",
    ] {
        let found = addresses(value.as_bytes()).unwrap();
        assert_eq!(found.iter().map(|address| address.mailbox.to_string()).collect::<Vec<_>>(), ["a@example.com"], "{value}");
    }
}

#[test]
fn refuses_what_readers_could_disagree_about() {
    for value in [
        "boss@bank.example <a@example.com>",
        "boss@bank.example\r\n <a@example.com>",
        "<boss@bank.example> <a@example.com>",
        "<boss@bank.example> a@example.com",
        "Ann <a@example.com> boss@bank.example",
        "Ann <a@example.com",
        "Ann a@example.com>",
        "Ann <<a@example.com>>",
        "Ann a@example.com",
        "a@example.com b",
        "a@b@example.com",
        "<a@b@example.com>",
        "a @example.com",
        "a@ example.com",
        "a(x)@example.com",
        "<a@(x)example.com>",
        "<a@example.com(x)>",
        "<(x)a@example.com>",
        "a@example(.bank).com",
        "<@bank.example:a@example.com>",
        "<@bank.example,@b.example:a@example.com>",
        "=?utf-8?Q?a?=@example.com",
        "<=?utf-8?Q?boss=40bank.example?=@example.com>",
        "a@=?utf-8?Q?example.com?=",
        "\"a\"b@example.com",
        "a.\"b\"@example.com",
        "\"a\" \"b\"@example.com",
        "a@\"example.com\"",
        ".a@example.com",
        "a..b@example.com",
        "a@example..com",
        "a@[192.0.2.1",
        "a@[bank.example]",
        "\"Ann <a@example.com>",
        "Ann (x <a@example.com>",
        "Ann \\ <a@example.com>",
        "Ann [x] <a@example.com>",
        "Ann\r\n<a@example.com>",
        "Ann\0 <a@example.com>",
        "Ann <a@exam\nple.com>",
        "\"Ann\r\" <a@example.com>",
        "a",
        "Ann Lee",
        "<>",
        "< >",
        "@example.com",
        "a@",
        ";",
        "a@example.com;",
    ] {
        let fault = addresses(value.as_bytes()).expect_err(value);
        assert!(!matches!(fault, AuthorFault::Group), "{value:?}: {fault}");
        assert!(fault.to_string().chars().all(|c| !c.is_control()), "{fault:?}");
    }
    assert!(addresses(b"Ann\xff <a@example.com>").is_err());
}

#[test]
fn refuses_empty_places_and_groups() {
    for value in ["", " \r\n", ",", "a@x.example,", ",a@x.example", "a@x.example,,b@x.example", "(only a comment)"] {
        assert_eq!(read(value), Err(AuthorFault::Empty), "{value:?}");
    }
    for value in ["undisclosed:;", "team: a@x.example, b@x.example;", "\"a team\": a@x.example;", "a@x.example, team:;"] {
        assert_eq!(read(value), Err(AuthorFault::Group), "{value:?}");
    }
}

#[test]
fn there_is_exactly_one_author() {
    for (header, expect) in [
        ("Subject: x\r\nfrom: Ann <a@example.com>\r\n", Ok("Ann <a@example.com>".to_owned())),
        ("Subject: x\r\n", Err(AuthorFault::Missing)),
        ("From: a@example.com\r\nFROM: a@example.com\r\n", Err(AuthorFault::SeveralFields(2))),
        ("From: a@example.com, b@example.com\r\n", Err(AuthorFault::SeveralAddresses(2))),
        ("From:\r\n", Err(AuthorFault::Empty)),
    ] {
        assert_eq!(author(&Headers::parse(header.as_bytes()).unwrap()).map(show), expect, "{header}");
    }
}

/// What passes through was taken by others: readers agree about the author although the form is obsolete or sloppy.
#[test]
fn of_foreign_mail_more_is_taken_as_long_as_it_names_one_author() {
    let foreign = |value: &str| foreign_author(&Headers::parse(format!("From: {value}\r\n").as_bytes()).unwrap()).map(show);
    for (value, expect) in [
        ("a@x.example", "a@x.example"),
        ("a@x.example <a@x.example>", "a@x.example <a@x.example>"),
        ("boss@bank.example <a@x.example>", "boss@bank.example <a@x.example>"),
        ("[News] Ann <a@x.example>", "[News] Ann <a@x.example>"),
        ("a@x.example,", "a@x.example"),
        (" , , Ann <a@x.example>,,", "Ann <a@x.example>"),
    ] {
        assert_eq!(foreign(value).as_deref(), Ok(expect), "{value}");
        assert_eq!(addresses(value.as_bytes()).is_ok(), value == "a@x.example", "{value}");
    }
    for value in [
        "\"open",
        "(open",
        "<open",
        "a@x.example>",
        "<a@x.example> more",
        "<a@x.example> <b@x.example>",
        "a@[1.2",
        "John a@x.example",
        "a@b <c@x.example> @d",
        "b@x.example > <a@x.example>",
        "=?utf-8?Q?a?=@x.example",
    ] {
        assert!(matches!(foreign(value), Err(AuthorFault::Syntax { .. } | AuthorFault::Address(_))), "{value}: {:?}", foreign(value));
    }
    assert_eq!(foreign("a@x.example <a@x.example>, b@x.example"), Err(AuthorFault::SeveralAddresses(2)));
    assert_eq!(foreign("Re: Ann <a@x.example>"), Err(AuthorFault::Group));
    for value in ["", ",", " , ,", "(only a comment),"] {
        assert_eq!(foreign(value), Err(AuthorFault::Empty), "{value}");
    }
}

#[test]
fn encoded_words_are_found_in_addresses_and_left_alone_in_names() {
    for (value, expect) in [
        ("=?utf-8?B?44GC?= <a@x.example> (=?utf-8?Q?c?=)", false),
        ("\"=?utf-8?Q?a?=\" <a@x.example>, =?utf-8?Q?b?= =?utf-8?Q?c?= <b@x.example>", false),
        ("a=?b@x.example", false),
        ("=?utf-8?Q?a?=@x.example", true),
        ("b@x.example, Ann <=?utf-8?Q?a=40x?=>", true),
        ("Ann <x=?utf-8?Q?a?=@x.example>", true),
        ("us: =?utf-8?Q?a?=@x.example;", true),
        ("us: a@x.example;, =?utf-8?Q?a?=@x.example", true),
        ("undisclosed-recipients:;", false),
        ("=?utf-8?Q?a?=@x.example \"open", true),
    ] {
        assert_eq!(has_encoded_address(value.as_bytes()), expect, "{value}");
    }
}

#[test]
fn long_nonsense_costs_neither_stack_nor_time() {
    for unit in ["<", "<(c)", "(", "<(", "\"<", ":<", ",<>", ",", "a,", "@", "a@b ", "(c)", "[]"] {
        let field = format!("From: {}\r\n", unit.repeat(100_000));
        assert!(foreign_author(&Headers::parse(field.as_bytes()).unwrap()).is_err(), "{unit}");
        let _ = has_encoded_address(field.as_bytes());
    }
}

proptest! {
    #[test]
    fn any_octets_get_an_answer(value in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = addresses(&value);
        let _ = has_encoded_address(&value);
    }

    #[test]
    fn any_mix_of_the_signs_gets_an_answer(value in "[a-z<>@,:;()\"\\\\\\[\\]=?. \r\n\u{e9}]{0,60}") {
        let field = format!("From: {}\r\n", value.replace(['\r', '\n'], " "));
        let headers = Headers::parse(field.as_bytes()).unwrap();
        if let Ok(ours) = author(&headers) {
            prop_assert_eq!(foreign_author(&headers), Ok(ours)); // what is taken strictly is read no other way
        }
        if let Ok(found) = addresses(value.as_bytes()) {
            prop_assert!(!found.is_empty());
            for address in found {
                // What was found reads back as itself.
                let again = addresses(address.mailbox.to_string().as_bytes()).unwrap();
                prop_assert_eq!(&again[0].mailbox, &address.mailbox);
            }
        }
    }
}
