//! Listening sockets: limits, the PROXY hook, going down.

use super::house::{Keeper, Wire, known, terms};
use arc_swap::ArcSwap;
use postseal::ingress::connection::{Encryption, Terms};
use postseal::ingress::listener::{Listener, Settings, Unwrap, Unwrapped};
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

struct Running {
    address: SocketAddr,
    terms: Arc<ArcSwap<Terms<Keeper>>>,
    drain: CancellationToken,
    task: JoinHandle<()>,
}

fn run(change: impl FnOnce(&mut Settings), proxy: Option<Arc<dyn Unwrap>>) -> Running {
    let mut settings = Settings::at("127.0.0.1:0".parse().unwrap());
    change(&mut settings);
    let listener = Listener::bind(settings, proxy).unwrap();
    let (address, drain) = (listener.address().unwrap(), CancellationToken::new());
    let terms = Arc::new(ArcSwap::new(terms(Encryption::None, known())));
    let task = tokio::spawn(listener.run(Arc::clone(&terms), drain.clone()));
    Running { address, terms, drain, task }
}

async fn connect(address: SocketAddr) -> Wire<TcpStream> {
    Wire(TcpStream::connect(address).await.unwrap())
}

#[tokio::test]
async fn connections_above_the_limits_are_turned_away_and_places_come_free() {
    let all = run(|settings| settings.connections_max = 1, None);
    let client = run(|settings| settings.connections_per_client_max = 1, None);
    for running in [all, client] {
        let mut first = connect(running.address).await;
        first.hear("220 ").await;
        let mut second = connect(running.address).await;
        second.hear("421 4.7.0 too many connections").await;
        second.end().await.unwrap();
        first.says("QUIT\r\n", "221").await;
        drop(first);
        for attempt in 0.. {
            let mut third = connect(running.address).await;
            let mut code = [0; 3];
            third.0.read_exact(&mut code).await.unwrap();
            if &code == b"220" {
                break;
            }
            assert!(attempt < 6000, "the place never came free");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

#[tokio::test]
async fn new_terms_hold_for_new_connections() {
    let running = run(|_| (), None);
    let mut before = connect(running.address).await;
    before.hear("220 relay.example").await;
    let old = running.terms.load_full();
    let mut dialogue = old.dialogue.clone();
    dialogue.hostname = "other.example".into();
    running.terms.store(Arc::new(Terms {
        accept: Arc::clone(&old.accept),
        door: Arc::clone(&old.door),
        listener: Arc::clone(&old.listener),
        encryption: old.encryption,
        memory: Arc::clone(&old.memory),
        settings: old.settings,
        clock: old.clock.clone(),
        dialogue,
        meters: Arc::clone(&old.meters),
    }));
    connect(running.address).await.hear("220 other.example").await;
    assert!(before.says("EHLO app.example\r\n", "250 ").await.contains("relay.example greets"));
}

#[tokio::test]
async fn going_down_stops_listening_and_lets_go() {
    let running = run(|_| (), None);
    let mut idle = connect(running.address).await;
    idle.hear("220 ").await;
    running.drain.cancel();
    idle.hear("421 4.3.2").await;
    drop(idle);
    tokio::time::timeout(Duration::from_mins(1), running.task).await.expect("it ends in time").unwrap();
    assert!(TcpStream::connect(running.address).await.is_err());
}

/// A header of one octet: `a` stands for 198.51.100.1, `-` for nobody, all else is refused.
struct OneOctet;

impl Unwrap for OneOctet {
    fn unwrap<'a>(&'a self, mut stream: TcpStream, _: SocketAddr) -> Pin<Box<dyn Future<Output = io::Result<Unwrapped>> + Send + 'a>> {
        Box::pin(async move {
            let client = match stream.read_u8().await? {
                b'a' => Some("198.51.100.1:1234".parse().unwrap()),
                b'-' => None,
                _ => return Err(io::Error::other("no header")),
            };
            Ok(Unwrapped { stream: Box::new(stream), client })
        })
    }
}

#[tokio::test]
async fn behind_a_proxy_the_header_says_who_the_client_is() {
    let running = run(|settings| settings.connections_per_client_max = 1, Some(Arc::new(OneOctet)));
    let mut client = connect(running.address).await;
    client.says("a", "220 ").await;
    client.says("EHLO app.example\r\n", "250 ").await;
    client.says("MAIL FROM:<a@a.example>\r\nRCPT TO:<b@b.example>\r\nDATA\r\n", "354").await;
    client.says(".\r\n", "250 2.0.0").await;
    let kept = running.terms.load().accept.kept.lock().unwrap().pop().unwrap();
    assert_eq!(kept.client.address.to_string(), "198.51.100.1");

    connect(running.address).await.says("a", "421 4.7.0").await;
    for _ in 0..3 {
        let mut nobody = connect(running.address).await;
        nobody.says("-", "220 ").await;
        nobody.says("EHLO app.example\r\n", "250 ").await;
        nobody.says("MAIL FROM:<a@a.example>\r\n", "554 5.7.1").await;
    }
    let mut rude = connect(running.address).await;
    rude.send("x").await;
    assert_eq!(rude.end().await.unwrap(), b"");
}

const CHILD: &str = "POSTSEAL_TEST_FEW_DESCRIPTORS";

/// Runs itself again in a process with few file descriptors.
#[test]
fn a_shortage_of_descriptors_is_waited_out() {
    if std::env::var_os(CHILD).is_some() {
        return starve();
    }
    let name = "ingress::listeners::a_shortage_of_descriptors_is_waited_out";
    let child = Command::new("sh")
        .args(["-c", "ulimit -n 40 && exec \"$0\" --exact \"$1\" --nocapture"])
        .arg(std::env::current_exe().unwrap())
        .arg(name)
        .env(CHILD, "1")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&child.stdout);
    assert!(child.status.success() && said.contains("starved and served"), "{said}{}", String::from_utf8_lossy(&child.stderr));
}

fn starve() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let running = run(|_| (), None);
        let mut schedstat = std::fs::File::open("/proc/thread-self/schedstat").unwrap();
        // Blocking, on the only thread: not one of them is accepted before the last descriptor is gone.
        let mut clients = Vec::new();
        while let Ok(client) = std::net::TcpStream::connect(running.address) {
            clients.push(client);
        }
        let before = cpu(&mut schedstat);
        tokio::time::sleep(Duration::from_millis(600)).await;
        let spent = cpu(&mut schedstat).saturating_sub(before);
        assert!(spent < Duration::from_millis(200), "{spent:?} of CPU while there was nothing to do");
        clients.clear();
        // They are let go one by one, and until then there is no descriptor for us either.
        let served = async {
            loop {
                tokio::time::sleep(Duration::from_millis(100)).await;
                let Ok(mut client) = TcpStream::connect(running.address).await else { continue };
                let mut code = [0; 4];
                if client.read_exact(&mut code).await.is_ok() && &code == b"220 " {
                    return;
                }
            }
        };
        tokio::time::timeout(Duration::from_mins(1), served).await.expect("it serves again");
        println!("starved and served");
    });
}

/// What this thread has used of the CPU.
fn cpu(schedstat: &mut std::fs::File) -> Duration {
    use std::io::{Read, Seek};
    let mut text = String::new();
    schedstat.rewind().unwrap();
    schedstat.read_to_string(&mut text).unwrap();
    Duration::from_nanos(text.split(' ').next().unwrap().parse().unwrap())
}
