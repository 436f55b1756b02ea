//! BIND takes, or refuses, dynamic updates; named-checkzone reads what is printed.

use super::support::bind::{Bind, Zone};
use super::support::{Peer, folder, free_port, missing, program, run};
use hickory_resolver::proto::op::{Message, MessageType, OpCode, Query};
use hickory_resolver::proto::rr::{Name, RecordType};
use postseal::dns::publish::tsig::{Key, KeyText};
use postseal::dns::publish::{Change, Done, Edit, Publish as _, PublishFault, rfc2136};
use postseal::dns::{Data, Kind, Resolver, Settings};
use postseal::mail::{Domain, Timestamp};
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;

const SECRET: &str = "c2VjcmV0IHNlY3JldCBzZWNyZXQgc2VjcmV0IDEyMw==";
const OTHER_SECRET: &str = "YW5vdGhlciBzZWNyZXQsIGFub3RoZXIgc2VjcmV0IDE=";
const RECORDS: &str = "example.com. IN A 192.0.2.80\nexample.com. IN TXT \"google-site-verification=abc\"\n\
     _dmarc.example.com. IN TXT \"v=DMARC1; p=reject\"\nalias._domainkey.example.com. IN CNAME k.platform.example.\n\
     cut._domainkey.example.com. IN TXT \"v=DKIM1; \" \"p=\"\n*.wild.example.com. IN TXT \"from the wildcard\"\n";

#[tokio::test]
async fn records_are_added_replaced_and_removed_and_nothing_else_is_touched() {
    let Some(world) = World::start("update-policy { grant postseal zonesub ANY; };") else { return };
    for (algorithm, transport) in [("hmac-sha256", rfc2136::Transport::Tcp), ("hmac-sha256", rfc2136::Transport::Udp)] {
        let publisher = world.publisher("postseal", algorithm, SECRET, transport);
        let before = world.zone("example.com");
        let name = domain("ps1._domainkey.example.com");
        assert_eq!(publisher.zone_of(&name).await.unwrap(), domain("example.com"));
        let long = format!("v=DKIM1; k=rsa; p={}", "A".repeat(392));
        assert_eq!(put(&publisher, &name, &[], &[&long]).await, Ok(Done::Made));
        assert_eq!(publisher.look(&name.clone().into(), Kind::Txt).await.unwrap().data, [Data::Txt(long.clone())]);
        assert_eq!(put(&publisher, &name, &[&long], &[&long]).await, Ok(Done::Already));
        assert_eq!(put(&publisher, &name, &[&long], &["v=DKIM1; p="]).await, Ok(Done::Made));
        let mut with_it = before.clone();
        with_it.push("ps1._domainkey.example.com. 3600 IN TXT v=DKIM1; p=".to_owned());
        with_it.sort();
        assert_eq!(world.zone("example.com"), with_it);
        assert_eq!(put(&publisher, &name, &["v=DKIM1; p="], &[]).await, Ok(Done::Made));
        assert_eq!(world.zone("example.com"), before);
    }
}

#[tokio::test]
async fn other_records_at_the_name_stay() {
    let Some(world) = World::start("update-policy { grant postseal zonesub ANY; };") else { return };
    let publisher = world.right();
    let (apex, token) = (domain("example.com"), "google-site-verification=abc");
    assert_eq!(put(&publisher, &apex, &[token], &[token, "v=spf1 -all"]).await, Ok(Done::Made));
    let texts: Vec<String> = world.zone("example.com").into_iter().filter(|line| line.starts_with("example.com.") && line.contains(" TXT ")).collect();
    assert_eq!(texts.len(), 2, "{texts:?}");
    // The same again, as after an answer that was lost.
    assert_eq!(put(&publisher, &apex, &[token], &[token, "v=spf1 -all"]).await, Ok(Done::Already));
}

#[tokio::test]
async fn a_record_that_was_changed_meanwhile_is_left_alone() {
    let Some(world) = World::start("update-policy { grant postseal zonesub ANY; };") else { return };
    let publisher = world.right();
    let before = world.zone("example.com");
    let fault = PublishFault::Changed { name: domain("_dmarc.example.com").into(), kind: Kind::Txt };
    assert_eq!(put(&publisher, &domain("_dmarc.example.com"), &[], &["v=DMARC1; p=none"]).await, Err(fault.clone()));
    assert_eq!(put(&publisher, &domain("_dmarc.example.com"), &["v=DMARC1; p=none"], &["v=DMARC1; p=quarantine"]).await, Err(fault));
    assert_eq!(world.zone("example.com"), before);
}

#[tokio::test]
async fn strings_cut_elsewhere_are_the_same_text() {
    let Some(world) = World::start("update-policy { grant postseal zonesub ANY; };") else { return };
    let publisher = world.right();
    let name = domain("cut._domainkey.example.com");
    assert_eq!(put(&publisher, &name, &["v=DKIM1; p="], &["v=DKIM1; p="]).await, Ok(Done::Already));
    assert_eq!(put(&publisher, &name, &["v=DKIM1; p="], &["v=DKIM1; k=rsa; p="]).await, Ok(Done::Made));
    assert_eq!(publisher.look(&name.into(), Kind::Txt).await.unwrap().data, [Data::Txt("v=DKIM1; k=rsa; p=".to_owned())]);
}

#[tokio::test]
async fn what_a_wildcard_makes_up_does_not_stand_in_the_way() {
    let Some(world) = World::start("update-policy { grant postseal zonesub ANY; };") else { return };
    let publisher = world.right();
    let name = domain("one.wild.example.com");
    assert_eq!(publisher.look(&name.clone().into(), Kind::Txt).await.unwrap().data, [Data::Txt("from the wildcard".to_owned())]);
    assert_eq!(put(&publisher, &name, &["from the wildcard"], &["its own"]).await, Ok(Done::Made));
    let wildcard = "*.wild.example.com".parse().unwrap();
    assert_eq!(publisher.look(&wildcard, Kind::Txt).await.unwrap().data, [Data::Txt("from the wildcard".to_owned())]);
}

#[tokio::test]
async fn no_record_is_put_beside_an_alias() {
    let Some(world) = World::start("update-policy { grant postseal zonesub ANY; };") else { return };
    let publisher = world.right();
    let name = domain("alias._domainkey.example.com");
    let fault = put(&publisher, &name, &[], &["v=DKIM1; p="]).await.unwrap_err();
    assert_eq!(fault, PublishFault::Alias { name: name.clone().into(), target: domain("k.platform.example"), kind: Kind::Txt });
    // The other way round BIND would take the message and do nothing.
    let edit = edit(&domain("_dmarc.example.com"), Vec::new(), vec![Data::Cname(domain("elsewhere.example"))], Kind::Cname);
    let fault = publisher.publish(&Change { zone: None, edits: vec![edit] }).await.unwrap_err();
    assert!(matches!(fault, PublishFault::NotShown { .. }), "{fault}");
}

#[tokio::test]
async fn edits_of_one_change_are_made_together_or_not_at_all() {
    let Some(world) = World::start("update-policy { grant postseal zonesub ANY; };") else { return };
    let publisher = world.right();
    let before = world.zone("example.com");
    let text = |text: &str| vec![Data::Txt(text.to_owned())];
    let good = edit(&domain("new.example.com"), Vec::new(), text("new"), Kind::Txt);
    let outdated = edit(&domain("_dmarc.example.com"), text("v=DMARC1; p=none"), text("v=DMARC1; p=quarantine"), Kind::Txt);
    let fault = publisher.publish(&Change { zone: None, edits: vec![good.clone(), outdated] }).await.unwrap_err();
    assert!(matches!(fault, PublishFault::Changed { .. }), "{fault}");
    assert_eq!(world.zone("example.com"), before);
    let fitting = edit(&domain("_dmarc.example.com"), text("v=DMARC1; p=reject"), text("v=DMARC1; p=quarantine"), Kind::Txt);
    assert_eq!(publisher.publish(&Change { zone: Some(domain("example.com")), edits: vec![good, fitting] }).await, Ok(Done::Made));
}

#[tokio::test]
async fn each_refusal_has_its_cause_and_remedy() {
    let Some(world) = World::start("update-policy { grant postseal name only.example.com TXT; };") else { return };
    let before = world.zone("example.com");
    let name = domain("ps1._domainkey.example.com");
    let fault = async |publisher: rfc2136::Rfc2136| put(&publisher, &name, &[], &["v=DKIM1; p="]).await.unwrap_err();
    let tcp = rfc2136::Transport::Tcp;
    let refused = fault(world.right()).await;
    assert!(matches!(refused, PublishFault::Refused { .. }) && refused.to_string().contains("grant postseal zonesub ANY"), "{refused}");
    let unknown = fault(world.publisher("nobody", "hmac-sha256", SECRET, tcp)).await;
    assert!(matches!(unknown, PublishFault::UnknownKey { .. }) && unknown.to_string().contains("\"nobody\""), "{unknown}");
    let other_algorithm = fault(world.publisher("postseal", "hmac-sha512", SECRET, tcp)).await;
    assert!(matches!(other_algorithm, PublishFault::UnknownKey { .. }), "{other_algorithm}");
    let wrong = fault(world.publisher("postseal", "hmac-sha256", OTHER_SECRET, tcp)).await;
    assert!(matches!(wrong, PublishFault::WrongSecret { .. }) && !wrong.to_string().contains(OTHER_SECRET), "{wrong}");
    let an_hour_ago = || Timestamp::from_unix_seconds(postseal::clock::now().unix_seconds() - 3600);
    let skewed = fault(world.right().with_clock(an_hour_ago)).await;
    assert!(matches!(skewed, PublishFault::WrongTime { theirs: Some(_), .. }) && skewed.to_string().contains(" s ahead of ours"), "{skewed}");
    assert_eq!(world.zone("example.com"), before);
}

#[tokio::test]
async fn wrong_zones_are_told_from_one_another() {
    let Some(world) = World::start("update-policy { grant postseal zonesub ANY; };") else { return };
    let publisher = world.right();
    let change =
        |zone: &str, name: &str| Change { zone: Some(domain(zone)), edits: vec![edit(&domain(name), Vec::new(), vec![Data::Txt("x".to_owned())], Kind::Txt)] };
    let outside = publisher.publish(&change("example.com", "name.example.net")).await.unwrap_err();
    assert!(matches!(outside, PublishFault::NotZone { .. }), "{outside}");
    let no_such_zone = publisher.publish(&change("sub.example.com", "name.sub.example.com")).await.unwrap_err();
    assert!(matches!(no_such_zone, PublishFault::NotAuthoritative { .. }), "{no_such_zone}");
    let elsewhere = publisher.zone_of(&domain("example.org")).await.unwrap_err();
    assert!(matches!(elsewhere, PublishFault::NoZone { .. }), "{elsewhere}");
    let only = world.publisher_of(Some("example.net"), world.port);
    let fault = only.zone_of(&domain("example.com")).await.unwrap_err();
    assert!(fault.to_string().contains("writes the zone example.net only"), "{fault}");
}

#[tokio::test]
async fn a_primary_that_is_down_or_mute_is_told() {
    let Some(world) = World::start("update-policy { grant postseal zonesub ANY; };") else { return };
    let name = domain("ps1._domainkey.example.com");
    let down = put(&world.publisher_of(None, free_port()), &name, &[], &["x"]).await.unwrap_err();
    assert!(matches!(down, PublishFault::Unreachable { transport: "TCP", .. }), "{down}");
    world.bind.hold();
    let mute = put(&world.publisher_of(None, world.port), &name, &[], &["x"]).await;
    world.bind.go_on();
    assert!(matches!(mute, Err(PublishFault::Silent { .. })), "{mute:?}");
}

/// A primary of `example.com` with a policy, and of `example.net` with one that allows all.
struct World {
    bind: Bind,
    port: u16,
}

impl World {
    fn start(policy: &str) -> Option<Self> {
        if missing(&[Peer::Bind]) {
            return None;
        }
        let port = free_port();
        let zones = [
            Zone { name: ".", records: "example.com. IN NS ns.\nexample.net. IN NS ns.\n", statements: "" },
            Zone { name: "example.com", records: RECORDS, statements: policy },
            Zone { name: "example.net", records: "", statements: "update-policy { grant postseal zonesub ANY; };" },
        ];
        let key = format!("key \"postseal\" {{ algorithm hmac-sha256; secret \"{SECRET}\"; }};");
        Some(Self { bind: Bind::start_with(port, &zones, &key), port })
    }

    fn right(&self) -> rfc2136::Rfc2136 {
        self.publisher_of(None, self.port)
    }

    fn publisher_of(&self, zone: Option<&str>, port: u16) -> rfc2136::Rfc2136 {
        let _ = self;
        made(port, "postseal", "hmac-sha256", SECRET, rfc2136::Transport::Tcp, zone)
    }

    fn publisher(&self, key: &str, algorithm: &str, secret: &str, transport: rfc2136::Transport) -> rfc2136::Rfc2136 {
        made(self.port, key, algorithm, secret, transport, None)
    }

    /// Every record but SOA, in order, as a transfer gives them.
    fn zone(&self, zone: &str) -> Vec<String> {
        let mut question = Message::new(7, MessageType::Query, OpCode::Query);
        question.add_query(Query::query(Name::from_ascii(format!("{zone}.")).unwrap(), RecordType::AXFR));
        let question = question.to_vec().unwrap();
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).unwrap();
        stream.write_all(&[&u16::try_from(question.len()).unwrap().to_be_bytes(), &question[..]].concat()).unwrap();
        let (mut lines, mut ends) = (Vec::new(), 0);
        while ends < 2 {
            let mut length = [0; 2];
            stream.read_exact(&mut length).unwrap();
            let mut octets = vec![0; u16::from_be_bytes(length).into()];
            stream.read_exact(&mut octets).unwrap();
            let answer = Message::from_vec(&octets).unwrap();
            assert!(!answer.answers.is_empty(), "no transfer: {}", answer.response_code);
            ends += answer.answers.iter().filter(|record| record.record_type() == RecordType::SOA).count();
            lines.extend(answer.answers.iter().filter(|record| record.record_type() != RecordType::SOA).map(ToString::to_string));
        }
        lines.sort();
        lines
    }
}

fn made(port: u16, key: &str, algorithm: &str, secret: &str, transport: rfc2136::Transport, zone: Option<&str>) -> rfc2136::Rfc2136 {
    let settings = rfc2136::Settings {
        server: SocketAddr::from((Ipv4Addr::LOCALHOST, port)).to_string().parse().unwrap(),
        zone: zone.map(domain),
        key: Key::new(key.parse().unwrap(), algorithm.parse().unwrap(), &KeyText::read(secret)).unwrap(),
        transport,
        timeout: Duration::from_secs(5),
    };
    let resolver = Resolver::new(&Settings { nameservers: Some(vec![([127, 0, 0, 1], port).into()]), ..Settings::default() }).unwrap();
    rfc2136::Rfc2136::new(settings, Arc::new(resolver))
}

async fn put(publisher: &rfc2136::Rfc2136, name: &Domain, before: &[&str], after: &[&str]) -> Result<Done, PublishFault> {
    let texts = |texts: &[&str]| texts.iter().map(|text| Data::Txt((*text).to_owned())).collect();
    publisher.publish(&Change { zone: None, edits: vec![edit(name, texts(before), texts(after), Kind::Txt)] }).await
}

fn edit(name: &Domain, before: Vec<Data>, after: Vec<Data>, kind: Kind) -> Edit {
    Edit { owner: name.clone().into(), kind, ttl: Duration::from_hours(1), before, after }
}

fn domain(text: &str) -> Domain {
    text.parse().unwrap()
}

#[test]
fn what_is_printed_is_a_zone_to_bind() {
    if missing(&[Peer::Bind]) {
        return;
    }
    for (file, zone) in [("whole.zone", "example.com"), ("parked.zone", "parked.example")] {
        let printed = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/dns/files").join(file)).unwrap();
        let folder = folder("zone");
        let path = folder.path().join("zone");
        std::fs::write(&path, format!("@ 60 IN SOA ns.example.net. h.example.net. 1 60 60 60 60\n@ 60 IN NS ns.example.net.\n{printed}")).unwrap();
        let mut command = Command::new(program("named-checkzone").unwrap());
        let (code, said) = run(command.args(["-i", "none", "-D", "-o", "-", zone]).arg(&path), b"");
        assert!(code == 0 && said.contains("loaded serial 1"), "{file}: {said}");
        let inside = printed
            .lines()
            .filter(|line| !line.starts_with(';') && line.contains(&format!("{zone}. ")) && !line.contains("example.com. 3600 IN TXT \"v=DMARC1;\""));
        let squeezed: Vec<String> = said.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
        for line in inside {
            assert!(squeezed.iter().any(|read| read == line), "{file}: {line}\n{said}");
        }
    }
}

/// From an empty zone to one where nothing is to be done, by the commands an operator types.
#[test]
fn an_operator_publishes_and_compares() {
    let Some(world) = World::start("update-policy { grant postseal zonesub ANY; };") else { return };
    let desk = Desk::new(world.port, SECRET);
    let (code, said) = desk.postseal(&["key", "create", "example.com"]);
    assert_eq!(code, 0, "{said}");
    let before = world.zone("example.com");

    let (code, said) = desk.postseal(&["dns", "publish", "example.com", "--dry-run"]);
    assert_eq!(code, 0, "{said}");
    assert!(
        said.contains("+ b.example.com. 3600 TXT \"v=spf1 ip4:192.0.2.25 ~all\"")
            && said.contains("_dmarc.example.com TXT: \"v=DMARC1; p=reject\" stands there already"),
        "{said}"
    );
    assert_eq!(world.zone("example.com"), before, "--dry-run writes nothing");

    let (code, said) = desk.postseal(&["dns", "publish", "example.com"]);
    assert!(code == 1 && said.contains("there is no terminal to ask; --yes writes without asking"), "{code} {said}");
    assert_eq!(world.zone("example.com"), before);

    let (code, said) = desk.postseal(&["dns", "publish", "example.com", "--only", "dkim", "--yes"]);
    assert!(code == 0 && said.contains("written: 1 change of the zone example.com"), "{code} {said}");
    let after: Vec<String> = world.zone("example.com").into_iter().filter(|line| !before.contains(line)).collect();
    assert!(after.len() == 1 && after[0].contains("._domainkey.example.com. 3600 IN TXT v=DKIM1; k=rsa; p="), "only the key: {after:?}");

    let (code, said) = desk.postseal(&["dns", "publish", "example.com", "--yes", "--replace", "_dmarc.example.com"]);
    assert_eq!(code, 1, "the PTR record lies in no zone of this server: {said}");
    assert!(said.contains("to be written by hand") && said.contains("25.2.0.192.in-addr.arpa"), "{said}");
    let kept = before.iter().filter(|line| !line.contains("p=reject"));
    assert!(kept.clone().all(|line| world.zone("example.com").contains(line)), "what was there stays: {kept:?}");

    let (code, said) = desk.postseal(&["dns", "publish", "example.com", "--yes"]);
    assert!(code == 1 && said.contains("6 records are right already") && !said.contains("written:"), "{code} {said}");

    let (code, said) = desk.postseal(&["dns", "diff", "example.com"]);
    assert_eq!(code, 3, "nobody in this world has the zone of the PTR record, so there is nobody to say that it is missing: {said}");
    assert!(said.contains("6 right, 0 missing, 0 different, 0 extra, 1 unknown") && said.contains("no name at or above it has NS records"), "{said}");
    let (code, said) = desk.postseal(&["dns", "diff", "example.com", "--json", "--only", "dmarc"]);
    let read: serde_json::Value = serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}"));
    assert_eq!((code, read["records"][0]["state"].as_str()), (0, Some("right")), "{said}");

    world.bind.hold();
    let (code, said) = desk.postseal(&["dns", "diff", "example.com", "--only", "dmarc"]);
    world.bind.go_on();
    assert!(code == 3 && said.contains("unknown"), "{code} {said}");
}

#[test]
fn a_new_operator_reads_what_is_wrong() {
    let Some(world) = World::start("update-policy { grant postseal zonesub ANY; };") else { return };
    let wrong = Desk::new(world.port, OTHER_SECRET);
    let (code, said) = wrong.postseal(&["dns", "publish", "example.com", "--yes"]);
    assert!(code == 1 && said.contains("knows the key \"postseal\", but with another secret"), "{code} {said}");
    let (code, said) = wrong.postseal(&["dns", "records", "example.org"]);
    assert!(code == 1 && said.contains("example.org is no author domain of") && said.contains("there are example.com"), "{code} {said}");
    let (code, said) = wrong.postseal(&["dns", "publish", "example.com", "--publisher", "secondary"]);
    assert!(code == 1 && said.contains("there is no publisher \"secondary\"; expected one of primary, manual"), "{code} {said}");
    let (code, said) = wrong.postseal(&["dns", "publish", "example.com", "--replace", "www.example.com"]);
    assert!(code == 1 && said.contains("no record of example.com stands at this name"), "{code} {said}");
    let (code, said) = wrong.postseal(&["dns", "publish", "example.com", "--publisher", "manual", "--no-wait", "--only", "dmarc"]);
    assert!(code == 1 && said.contains("stands there already"), "{code} {said}");
    std::fs::set_permissions(wrong.folder.path().join("tsig.key"), std::fs::Permissions::from_mode(0o644)).unwrap();
    let (code, said) = wrong.postseal(&["dns", "publish", "example.com"]);
    assert!(code == 1 && said.contains("lets every user of this machine read it"), "{code} {said}");
}

/// A configuration of a relay whose publisher is the BIND at a port.
struct Desk {
    folder: TempDir,
}

impl Desk {
    fn new(port: u16, secret: &str) -> Self {
        let folder = folder("desk");
        let key = folder.path().join("tsig.key");
        std::fs::write(&key, format!("key \"postseal\" {{\n\talgorithm hmac-sha256;\n\tsecret \"{secret}\";\n}};\n")).unwrap();
        std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).unwrap();
        let config = format!(
            "[server]\nhostname = \"mx1.example.com\"\n[listeners.app]\naddress = \"127.0.0.1:2525\"\ntls = \"none\"\n\
             [identities.app]\nnetworks = [\"10.0.0.0/8\"]\nauthor_domains = [\"example.com\"]\n\
             [domains.\"example.com\"]\npublisher = \"primary\"\n[dns]\npublic_addresses = [\"192.0.2.25\"]\n\
             [publishers.primary]\nkind = \"rfc2136\"\nserver = \"127.0.0.1:{port}\"\ntsig_secret_file = \"tsig.key\"\n\
             [resolver]\nnameservers = [\"127.0.0.1:{port}\"]\nauthoritative_port = {port}\ntimeout = \"5s\"\nattempts = 0\n"
        );
        std::fs::write(folder.path().join("postseal.toml"), config).unwrap();
        Self { folder }
    }

    fn postseal(&self, arguments: &[&str]) -> (i32, String) {
        run(Command::new(env!("CARGO_BIN_EXE_postseal")).args(arguments).current_dir(self.folder.path()), b"")
    }
}
