//! BIND on loopback, the authority for everything: what its zone does not name does not exist.

use super::{Process, folder, program};
use rustix::process::Signal;
use tempfile::TempDir;

/// A running `named`.
pub struct Bind {
    port: u16,
    process: Process,
    _folder: TempDir,
}

/// A zone it is the primary of.
pub struct Zone<'a> {
    pub name: &'a str,
    pub records: &'a str,
    /// Further statements of the zone: its update-policy.
    pub statements: &'a str,
}

impl Bind {
    /// Starts it on this port of 127.0.0.1 with `records` in the form of a zone file, names fully qualified.
    pub fn start(port: u16, records: &str) -> Self {
        Self::start_with(port, &[Zone { name: ".", records, statements: "" }], "")
    }

    /// Starts it with these zones, and further statements of its configuration: keys.
    pub fn start_with(port: u16, zones: &[Zone<'_>], statements: &str) -> Self {
        let folder = folder("bind");
        let path = folder.path().display();
        let mut config = format!(
            "options {{ directory \"{path}\"; listen-on port {port} {{ 127.0.0.1; }}; listen-on-v6 {{ none; }}; pid-file none; session-keyfile none;\n\
             recursion no; dnssec-validation no; allow-transfer {{ 127.0.0.1; }}; }};\n\
             controls {{ }};\n{statements}\n"
        );
        for (number, Zone { name, records, statements }) in zones.iter().enumerate() {
            let text =
                format!("$TTL 5\n@ IN SOA ns. hostmaster. 1 60 60 60 5\n@ IN NS ns.\n{}{records}\n", if *name == "." { "ns. IN A 127.0.0.1\n" } else { "" });
            std::fs::write(folder.path().join(format!("zone{number}")), text).unwrap();
            config = [config, format!("zone \"{name}\" {{ type primary; file \"{path}/zone{number}\"; {statements} }};\n")].concat();
        }
        let config_file = folder.path().join("named.conf");
        std::fs::write(&config_file, config).unwrap();
        let config_file = config_file.display().to_string();
        let named = program("named").unwrap();
        let process = Process::spawn("named", &named, &["-g", "-4", "-n", "1", "-c", &config_file], &folder.path().join("log")).wait_for_word(" running\n");
        assert!(!process.log().contains("not loaded"), "BIND refuses the zone: {}", process.log());
        Self { port, process, _folder: folder }
    }

    /// Its port, UDP and TCP.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Answers nothing until [`Bind::go_on`].
    pub fn hold(&self) {
        self.process.signal_group(Signal::STOP);
    }

    /// Answers again.
    pub fn go_on(&self) {
        self.process.signal_group(Signal::CONT);
    }
}
