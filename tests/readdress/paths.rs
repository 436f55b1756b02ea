use super::{domain, id, mailbox, noon, ring};
use postseal::mail::{Mailbox, Notify, Recipient, ReversePath};
use postseal::readdress::{
    BounceRule, Keep, ReaddressFault, Readdressed, Request, RewriteReversePath, Settings, TokenContents, TokenPer, alignment_fault, readdress,
};

fn rule(keep: Keep, token_per: TokenPer) -> Settings {
    let rule = BounceRule { bounce_domain: domain("b.example.com"), keep, token_per };
    Settings { domains: [(domain("example.com"), rule)].into(), ..Settings::default() }
}

fn everything() -> Settings {
    rule(Keep::Nothing, TokenPer::Message)
}

fn recipients(to: &[&str]) -> Vec<Recipient> {
    to.iter().map(|to| Recipient { mailbox: mailbox(to), notify: Notify::default(), orcpt: None }).collect()
}

/// Readdresses message 7 of `from` to `to` on day 0, with changes to the request.
fn run(settings: &Settings, from: &str, to: &[&str], change: impl FnOnce(&mut Request<'_>)) -> Result<Readdressed, ReaddressFault> {
    let original = if from.is_empty() { ReversePath::Null } else { mailbox(from).into() };
    let (recipients, author) = (recipients(to), domain("example.com"));
    let mut request = Request {
        original: &original,
        recipients: &recipients,
        signing_domain: &author,
        id: id(7),
        sender_counter: 0,
        rewrite: RewriteReversePath::Rewrite,
        trusted_upstream: false,
    };
    change(&mut request);
    readdress(&request, settings, &ring(&[(0, 1)]), noon(0))
}

fn opened(path: &ReversePath) -> TokenContents {
    let mailbox = path.mailbox().unwrap();
    assert_eq!(mailbox.domain(), Some(&domain("b.example.com")));
    ring(&[(0, 1)]).open(&mailbox.local, mailbox.domain().unwrap(), noon(0)).unwrap()
}

fn path(text: &str) -> ReversePath {
    mailbox(text).into()
}

#[test]
fn the_only_recipient_at_its_host_gets_a_token_of_its_own() {
    let done = run(&everything(), "www-data@pod-7", &["a@one.example", "b@two.example", "c@two.example", "d@[192.0.2.1]"], |_| {}).unwrap();
    let (sender_id, sender) = done.sender.unwrap();
    assert_eq!(sender, mailbox("www-data@pod-7"));
    let tokens: Vec<_> = done.reverse_paths.iter().map(opened).collect();
    assert!(tokens.iter().all(|token| token.sender_id == sender_id && token.message == Some(id(7))));
    let ring = ring(&[(0, 1)]);
    assert!(ring.is_for(&tokens[0], &mailbox("a@one.example")));
    assert!(ring.is_for(&tokens[3], &mailbox("d@[192.0.2.1]")));
    assert_eq!((tokens[1].recipient_check, tokens[2].recipient_check), (None, None));
    assert_eq!(done.reverse_paths[1], done.reverse_paths[2], "they may share a transaction");
    assert_ne!(done.reverse_paths[0], done.reverse_paths[1]);
    assert_ne!(done.reverse_paths[0], done.reverse_paths[3]);
}

#[test]
fn a_null_reverse_path_stays_null() {
    let done = run(&Settings::default(), "", &["a@one.example", "b@two.example"], |_| {}).unwrap();
    assert_eq!(done, Readdressed { sender: None, reverse_paths: vec![ReversePath::Null, ReversePath::Null] });
}

#[test]
fn an_aligned_reverse_path_is_rewritten_unless_the_domain_keeps_it() {
    let keep = rule(Keep::Aligned, TokenPer::Message);
    for aligned in ["app@example.com", "app@mail.example.com"] {
        opened(&run(&everything(), aligned, &["a@one.example"], |_| {}).unwrap().reverse_paths[0]);
        assert_eq!(run(&keep, aligned, &["a@one.example"], |_| {}).unwrap(), Readdressed { sender: None, reverse_paths: vec![path(aligned)] });
    }
    for foreign in ["app@example.net", "app@notexample.com", "app@pod-7", "app@[192.0.2.1]"] {
        opened(&run(&keep, foreign, &["a@one.example"], |_| {}).unwrap().reverse_paths[0]);
    }
}

#[test]
fn a_smart_host_may_have_the_original() {
    let done = run(&Settings::default(), "app@example.com", &["a@one.example"], |request| request.rewrite = RewriteReversePath::Keep).unwrap();
    assert_eq!(done, Readdressed { sender: None, reverse_paths: vec![path("app@example.com")] });
}

#[test]
fn a_token_of_ours_is_kept_from_a_trusted_upstream_only() {
    let token = run(&everything(), "app@pod-7", &["a@one.example"], |_| {}).unwrap().reverse_paths[0].mailbox().unwrap().to_string();
    let kept = run(&everything(), &token, &["a@one.example", "b@two.example"], |request| request.trusted_upstream = true).unwrap();
    assert_eq!(kept, Readdressed { sender: None, reverse_paths: vec![path(&token), path(&token)] });
    let stranger = run(&everything(), &token, &["a@one.example"], |_| {}).unwrap();
    assert_eq!(stranger.sender.unwrap().1, mailbox(&token), "an application that replays a token is a sender like any other");
    let forged = token.replace("@b.", "x@b.").replacen('b', "c", 1);
    for no_token in [forged.as_str(), "app@b.example.com", "app@pod-7"] {
        let done = run(&everything(), no_token, &["a@one.example"], |request| request.trusted_upstream = true).unwrap();
        assert_eq!(done.sender.unwrap().1, mailbox(no_token));
    }
}

#[test]
fn a_token_per_sender_and_day_is_the_same_all_day() {
    let daily = rule(Keep::Nothing, TokenPer::SenderAndDay);
    let first = run(&daily, "app@pod-7", &["a@one.example", "b@two.example", "c@two.example"], |_| {}).unwrap();
    let second = run(&daily, "app@pod-7", &["d@three.example"], |request| request.id = id(8)).unwrap();
    assert!(first.reverse_paths.iter().all(|path| *path == second.reverse_paths[0]));
    let token = opened(&second.reverse_paths[0]);
    assert_eq!((token.message, token.recipient_check), (None, None));
    let other = run(&daily, "other@pod-7", &["d@three.example"], |_| {}).unwrap();
    assert_ne!(other.reverse_paths[0], second.reverse_paths[0]);
}

#[test]
fn a_taken_sender_id_is_taken_again_with_a_counter() {
    let ids: Vec<u64> = (0..3).map(|n| run(&everything(), "app@pod-7", &["a@one.example"], |r| r.sender_counter = n).unwrap().sender.unwrap().0).collect();
    assert!(ids[0] != ids[1] && ids[1] != ids[2] && ids[0] != ids[2]);
}

#[test]
fn a_domain_without_a_bounce_domain_is_named() {
    let fault = run(&Settings::default(), "app@pod-7", &["a@one.example"], |_| {}).unwrap_err();
    assert_eq!(fault.to_string(), "no bounce domain is configured for \"example.com\"; name one below it, such as \"b.example.com\"");
}

#[test]
fn a_bounce_domain_lies_at_or_below_its_author_domain() {
    let fault = |author: &str, bounce: &str| alignment_fault(&domain(author), &domain(bounce));
    for bounce in ["b.example.com", "bounces.mail.example.com", "example.com"] {
        assert_eq!(fault("example.com", bounce), None, "{bounce}");
    }
    for bounce in ["example.net", "com", "bexample.com", "amazonses.com"] {
        let fault = fault("example.com", bounce).unwrap();
        assert!(fault.contains("is not aligned") && fault.contains("\"b.example.com\""), "{fault}");
    }
    assert!(fault("mail.example.com", "b.example.com").unwrap().contains("\"b.mail.example.com\""), "a sibling is aligned only by luck");
}

#[test]
fn a_bounce_domain_leaves_room_for_the_token() {
    let long = |octets: usize| {
        let mut name = "example.com".to_owned();
        while octets - name.len() > 40 {
            name = format!("{}.{name}", "a".repeat(30));
        }
        format!("{}.{name}", "b".repeat(octets - name.len() - 1))
    };
    assert_eq!(alignment_fault(&domain("example.com"), &domain(&long(212))), None);
    assert!(alignment_fault(&domain("example.com"), &domain(&long(213))).unwrap().contains("is too long"));
    let address = format!("{}@{}", "b".repeat(41), long(212));
    assert!(Mailbox::parse(&address).is_ok());
}
