//! A zone in memory, as `verdict::spf_walk` asks one.

use postseal::dns::{Data, DnsFault, Kind};
use postseal::verdict::spf_walk::Questions;
use std::collections::{HashMap, HashSet};
use std::sync::Mutex;

/// Names in lower case. What is not there does not exist.
#[derive(Default)]
pub struct SpfZone {
    records: HashMap<String, Vec<Data>>,
    silent: HashSet<(String, Option<Kind>)>,
    /// What was asked, in order.
    pub asked: Mutex<Vec<(String, Kind)>>,
}

impl SpfZone {
    /// Lines of name, type and value: `example.com TXT v=spf1 -all`; `SILENT` as a type: nobody answers for the name.
    #[allow(dead_code, reason = "each test binary uses what it needs")]
    pub fn of(lines: &str) -> Self {
        let mut zone = Self::default();
        for line in lines.lines().map(str::trim).filter(|line| !line.is_empty()) {
            let (name, rest) = line.split_once(' ').unwrap();
            let (kind, value) = rest.split_once(' ').unwrap_or((rest, ""));
            match kind {
                "SILENT" => zone.silence(name, None),
                kind => assert!(zone.add(name, kind, value), "{line}"),
            }
        }
        zone
    }

    /// Adds a record; false when its value is none that mail could use, as the resolver leaves such out.
    pub fn add(&mut self, name: &str, kind: &str, value: &str) -> bool {
        let data = match kind {
            "TXT" => Data::Txt(value.to_owned()),
            "A" => Data::A(value.parse().unwrap()),
            "AAAA" => Data::Aaaa(value.parse().unwrap()),
            "MX" => {
                let (preference, host) = value.split_once(' ').unwrap();
                if host.parse::<postseal::mail::Domain>().is_err() && host != "." {
                    return false;
                }
                Data::Mx { preference: preference.parse().unwrap(), host: host.parse().ok() }
            }
            "CNAME" | "PTR" => match value.parse() {
                Ok(name) if kind == "PTR" => Data::Ptr(name),
                Ok(name) => Data::Cname(name),
                Err(_) => return false,
            },
            other => panic!("no such type: {other}"),
        };
        self.records.entry(name.to_ascii_lowercase()).or_default().push(data);
        true
    }

    pub fn silence(&mut self, name: &str, kind: Option<Kind>) {
        self.silent.insert((name.to_ascii_lowercase(), kind));
    }
}

impl Questions for SpfZone {
    async fn ask(&self, name: &str, kind: Kind) -> Result<Vec<Data>, DnsFault> {
        self.asked.lock().unwrap().push((name.to_owned(), kind));
        let mut name = name.to_ascii_lowercase();
        for _ in 0..8 {
            if self.silent.contains(&(name.clone(), None)) || self.silent.contains(&(name.clone(), Some(kind))) {
                return Err(DnsFault::Timeout(name));
            }
            let Some(here) = self.records.get(&name) else { return Ok(Vec::new()) };
            let found: Vec<Data> = here.iter().filter(|data| data.kind() == kind).cloned().collect();
            let alias = here.iter().find_map(|data| if let Data::Cname(target) = data { Some(target.to_string()) } else { None });
            match alias {
                Some(target) if found.is_empty() => name = target,
                _ => return Ok(found),
            }
        }
        Ok(Vec::new())
    }
}
