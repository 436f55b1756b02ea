//! Records as people and programs take them: a table, a zone file, JSON, Terraform. Pure.
//!
//! | format | for | form |
//! |---|---|---|
//! | table | a person at a terminal, or at a provider's web form | one line a record, texts whole, the reason below |
//! | zone | BIND, NSD, Knot and what reads their files | RFC 1035 §5; absolute names, so that any `$ORIGIN` does |
//! | json | programs | see [`json()`] |
//! | terraform | the provider hashicorp/dns, which writes by RFC 2136 | one resource for each name and type |

use super::records::{Need, Standing, Step, Wanted};
use super::resource::{Data, Kind, Owner};
use crate::mail::Domain;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// For a person.
#[must_use]
pub fn table(wanted: &[Wanted]) -> String {
    let name_width = wanted.iter().map(|wanted| wanted.resource.owner.to_string().len()).filter(|width| *width <= NAME_WIDTH_MAX).max().unwrap_or(0);
    let mut text = String::new();
    let mut step = None;
    for Wanted { resource, ttl, need, step: its_step, standing, why, .. } in wanted {
        if step != Some(*its_step) {
            let _ = writeln!(text, "{}{its_step}\n", if step.is_some() { "\n" } else { "" }); // a String takes all, here and below
            step = Some(*its_step);
        }
        let by = if *standing == Standing::Theirs { ", written by who has the zone" } else { "" };
        let _ = writeln!(text, "{:name_width$}  {:5}  {}", resource.owner.to_string(), resource.data.kind(), value(&resource.data));
        let _ = writeln!(text, "{:name_width$}  {:5}  ({need}{by}; TTL {} s) {why}", "", "", ttl.as_secs());
    }
    text
}

/// A zone file's lines. Names are absolute, each line has its TTL and class.
#[must_use]
pub fn zone(wanted: &[Wanted]) -> String {
    let mut text = String::new();
    let mut step = None;
    for Wanted { resource, ttl, need, step: its_step, why, .. } in wanted {
        if step != Some(*its_step) {
            let _ = writeln!(text, "{}; {its_step}", if step.is_some() { "\n" } else { "" });
            step = Some(*its_step);
        }
        let _ = writeln!(text, "; {need}: {why}");
        let _ = writeln!(text, "{}. {} IN {} {}", resource.owner, ttl.as_secs(), resource.data.kind(), resource.data.zone_text());
    }
    text
}

/// For programs: `{"domain": …, "records": […]}`, in the order of work. Of each record:
///
/// | key | value |
/// |---|---|
/// | `name` | the owner, without a final dot; `*.` in front of a wildcard |
/// | `type` | `A`, `AAAA`, `CNAME`, `MX`, `PTR` or `TXT` |
/// | `ttl` | seconds |
/// | `value` | as a web form takes it: a text whole and without quotes, a name without its final dot, an MX as `10 host` |
/// | `zone` | the same as a zone file has it: quoted, cut at 255 octets, names with their final dot |
/// | `preference`, `host` | of an MX; `host` is null for the null MX |
/// | `need` | `required`, `advised` or `optional` |
/// | `step` | `spf`, `dkim`, `dmarc`, `further` or `parked` |
/// | `standing` | `ours`: postseal's alone; `shared`: others may write there; `theirs`: written by the owner of the author domain |
/// | `why` | a sentence |
///
/// Keys may be added; none is removed or changes its meaning.
#[must_use]
pub fn json(domain: &Domain, wanted: &[Wanted]) -> Value {
    let record = |wanted: &Wanted| {
        let data = &wanted.resource.data;
        let mut record = json!({
            "name": wanted.resource.owner.to_string(),
            "type": data.kind().to_string(),
            "ttl": wanted.ttl.as_secs(),
            "value": value(data),
            "zone": data.zone_text(),
            "need": wanted.need.to_string(),
            "step": step_word(wanted.step),
            "standing": standing_word(wanted.standing),
            "why": wanted.why,
        });
        if let Data::Mx { preference, host } = data {
            record["preference"] = json!(preference);
            record["host"] = json!(host.as_ref().map(ToString::to_string));
        }
        record
    };
    json!({ "domain": domain.to_string(), "records": wanted.iter().map(record).collect::<Vec<_>>() })
}

/// For Terraform with the provider hashicorp/dns. A resource there is the whole set of a name and type, so all records of one become one;
/// and it wants to know the zone, which is the author domain for what lies below it and a guess for all else.
#[must_use]
pub fn terraform(domain: &Domain, wanted: &[Wanted]) -> String {
    let mut sets: BTreeMap<(usize, Owner, Kind), Vec<&Wanted>> = BTreeMap::new();
    for record in wanted {
        let (owner, kind) = (record.resource.owner.clone(), record.resource.data.kind());
        let place = wanted.iter().position(|first| first.resource.owner == owner && first.resource.data.kind() == kind).unwrap_or_default();
        sets.entry((place, owner, kind)).or_default().push(record);
    }
    let mut text = String::from(
        "# For the provider hashicorp/dns, whose block `update` names the server and the TSIG key.\n# Each resource is everything at its name and type: add what else stands there, or it is removed.\n",
    );
    for ((_, owner, kind), records) in sets {
        let (zone, name, is_guess) = place(domain, &owner);
        let ttl = records[0].ttl.as_secs();
        let label = label(&owner, kind);
        let _ = writeln!(text);
        for need in records.iter().filter(|record| record.need != Need::Required).map(|record| record.need).take(1) {
            let _ = writeln!(text, "# {need}");
        }
        let _ = writeln!(text, "resource \"{}\" \"{label}\" {{", resource_type(kind));
        let _ = writeln!(text, "  zone = \"{zone}.\"{}", if is_guess { " # a guess: the zone that the name lies in" } else { "" });
        if let Some(name) = name {
            let _ = writeln!(text, "  name = {}", quoted(&name));
        }
        for record in &records {
            terraform_value(&mut text, &record.resource.data);
        }
        if !matches!(kind, Kind::Mx | Kind::Cname | Kind::Ptr) {
            let values: Vec<String> = records.iter().map(|record| quoted(&value(&record.resource.data))).collect();
            let _ = writeln!(text, "  {} = [{}]", if kind == Kind::Txt { "txt" } else { "addresses" }, values.join(", "));
        }
        let _ = writeln!(text, "  ttl = {ttl}\n}}");
    }
    text
}

/// What stands on a line or in a block of its own.
fn terraform_value(text: &mut String, data: &Data) {
    let _ = match data {
        Data::Mx { preference, host } => {
            let host = host.as_ref().map_or_else(|| ".".to_owned(), |host| format!("{host}."));
            writeln!(text, "  mx {{\n    preference = {preference}\n    exchange   = \"{host}\"\n  }}")
        }
        Data::Cname(target) => writeln!(text, "  cname = \"{target}.\""),
        Data::Ptr(target) => writeln!(text, "  ptr = \"{target}.\""),
        Data::Txt(_) | Data::A(_) | Data::Aaaa(_) => Ok(()),
    };
}

/// Zone, name in it (`None` at its apex), and whether the zone is a guess.
fn place(domain: &Domain, owner: &Owner) -> (Domain, Option<String>, bool) {
    let is_below = owner.name.is_at_or_below(domain);
    let zone = if is_below { domain.clone() } else { owner.name.parent().unwrap_or_else(|| owner.name.clone()) };
    let relative = owner.name.as_str().strip_suffix(zone.as_str()).unwrap_or_default().trim_end_matches('.');
    let name = match (owner.wildcard, relative) {
        (false, "") => None,
        (true, "") => Some("*".to_owned()),
        (false, relative) => Some(relative.to_owned()),
        (true, relative) => Some(format!("*.{relative}")),
    };
    (zone, name, !is_below)
}

/// A name for a resource: letters, digits, hyphens and underscores, beginning with the type.
fn label(owner: &Owner, kind: Kind) -> String {
    let plain: String = owner.to_string().chars().map(|c| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' }).collect();
    format!("{}_{}", kind.to_string().to_ascii_lowercase(), plain.replace("*_", "any_").replace('*', "any"))
}

const fn resource_type(kind: Kind) -> &'static str {
    match kind {
        Kind::Txt => "dns_txt_record_set",
        Kind::Mx => "dns_mx_record_set",
        Kind::A => "dns_a_record_set",
        Kind::Aaaa => "dns_aaaa_record_set",
        Kind::Cname => "dns_cname_record",
        Kind::Ptr => "dns_ptr_record",
    }
}

/// A string of HCL: `${` and `%{` would begin a template.
fn quoted(text: &str) -> String {
    let escaped = text.replace('\\', "\\\\").replace('"', "\\\"").replace("${", "$${").replace("%{", "%%{");
    format!("\"{escaped}\"")
}

/// As a web form takes it.
fn value(data: &Data) -> String {
    match data {
        Data::Txt(text) => text.clone(),
        Data::Mx { host: None, preference } => format!("{preference} ."),
        other => other.zone_text().trim_end_matches('.').to_owned(),
    }
}

const fn step_word(step: Step) -> &'static str {
    match step {
        Step::Spf => "spf",
        Step::Dkim => "dkim",
        Step::Dmarc => "dmarc",
        Step::Further => "further",
        Step::Parked => "parked",
    }
}

const fn standing_word(standing: Standing) -> &'static str {
    match standing {
        Standing::Ours => "ours",
        Standing::Shared => "shared",
        Standing::Theirs => "theirs",
    }
}

/// Columns for names; longer ones (PTR records of IPv6) push their line to the right.
const NAME_WIDTH_MAX: usize = 48;
