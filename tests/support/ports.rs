//! Ports of loopback for servers that must be named before they start, or be found again after a restart.

use std::fs::File;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU16, Ordering};

/// A port that nobody has, TCP and UDP, below those that the system hands out to clients. Each test process has a block of them to
/// itself, so that a port may be named long before its server starts.
pub fn free_port() -> u16 {
    free_port_at(&[Ipv4Addr::LOCALHOST.into()])
}

/// The same, free at all of these addresses.
pub fn free_port_at(addresses: &[IpAddr]) -> u16 {
    static BLOCK: OnceLock<(u16, File)> = OnceLock::new();
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let (first, _lock) = BLOCK.get_or_init(port_block);
    loop {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        assert!(number < BLOCK_PORTS, "more than {BLOCK_PORTS} ports in one process");
        let is_free = |address: &IpAddr| {
            let address = SocketAddr::new(*address, first + number);
            TcpListener::bind(address).is_ok() && UdpSocket::bind(address).is_ok()
        };
        if addresses.iter().all(is_free) {
            return first + number;
        }
    }
}

/// The first block that no other process holds; the lock ends with this process.
fn port_block() -> (u16, File) {
    let folder = std::env::temp_dir().join("postseal-test-ports");
    std::fs::create_dir_all(&folder).unwrap();
    let held = |number: u16| {
        let file = File::create(folder.join(number.to_string())).ok()?;
        rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive).ok()?;
        Some((FIRST_PORT + number * BLOCK_PORTS, file))
    };
    (0..BLOCKS).find_map(held).expect("other test processes hold all blocks of ports")
}

const FIRST_PORT: u16 = 10_000;
const BLOCK_PORTS: u16 = 256;
const BLOCKS: u16 = 80;
