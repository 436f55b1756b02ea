//! Lists of suppressed addresses as files: CSV with a header line (RFC 4180), or NDJSON, a JSON object a line.
//!
//! Read row by row: a list of millions needs no more memory than one of ten.

use crate::admin::api::suppressions::FIELDS;
use anyhow::{Context as _, bail};
use serde_json::{Map, Value};
use std::fs::File;
use std::io::{BufRead, BufReader, Cursor, Read, Write};
use std::path::Path;

/// How a file is written.
#[derive(clap::ValueEnum, Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Values between commas, below a line with the names of the columns
    Csv,
    /// A JSON object a line, as `list --json` prints them
    Ndjson,
}

/// A row of a file: its line, and its fields or what is wrong with it.
pub type Row = (u64, Result<Map<String, Value>, String>);

/// Where rows come from. Standard input is read once and kept; a file is read each time.
pub enum Source {
    /// A file.
    File(std::path::PathBuf, Format),
    /// Standard input.
    Read(Vec<u8>, Format),
}

impl Format {
    /// What a file's name says.
    pub fn of(path: &Path) -> Option<Self> {
        match path.extension()?.to_str()?.to_ascii_lowercase().as_str() {
            "csv" => Some(Self::Csv),
            "ndjson" | "jsonl" | "json" => Some(Self::Ndjson),
            _ => None,
        }
    }
}

impl Source {
    /// The file of this name, or standard input for `-`.
    ///
    /// # Errors
    /// It cannot be read, is too large, or does not say what it is.
    pub fn open(path: &Path, format: Option<Format>) -> anyhow::Result<Self> {
        if path == Path::new("-") {
            let Some(format) = format else { bail!("standard input does not say what it is; expected --format csv or --format ndjson") };
            let mut octets = Vec::new();
            std::io::stdin().lock().take(INPUT_OCTETS_MAX + 1).read_to_end(&mut octets).context("standard input cannot be read")?;
            if octets.len() as u64 > INPUT_OCTETS_MAX {
                bail!("standard input has more than {} MiB; expected a file for a list of that size", INPUT_OCTETS_MAX >> 20);
            }
            return Ok(Self::Read(octets, format));
        }
        let Some(format) = format.or_else(|| Format::of(path)) else {
            bail!("{} does not say by its name what it is; expected .csv or .ndjson, or --format", path.display());
        };
        let source = Self::File(path.to_owned(), format);
        source.reader()?;
        Ok(source)
    }

    /// Its rows, from the first.
    ///
    /// # Errors
    /// It cannot be read, or its header line names no column that is known.
    pub fn rows(&self) -> anyhow::Result<Box<dyn Iterator<Item = Row> + '_>> {
        let reader = self.reader()?;
        match self.format() {
            Format::Csv => csv_rows(reader),
            Format::Ndjson => Ok(Box::new(ndjson_rows(reader))),
        }
    }

    const fn format(&self) -> Format {
        match self {
            Self::File(_, format) | Self::Read(_, format) => *format,
        }
    }

    fn reader(&self) -> anyhow::Result<Box<dyn BufRead + '_>> {
        Ok(match self {
            Self::File(path, _) => {
                let file = File::open(path).with_context(|| format!("{} cannot be read", path.display()))?;
                Box::new(BufReader::new(file))
            }
            Self::Read(octets, _) => Box::new(Cursor::new(octets)),
        })
    }
}

fn csv_rows<'a>(mut reader: Box<dyn BufRead + 'a>) -> anyhow::Result<Box<dyn Iterator<Item = Row> + 'a>> {
    let mut lines = 0;
    let headers = match csv_record(&mut reader, &mut lines) {
        Some((_, record)) => record.map_err(|fault| anyhow::Error::msg(fault.words())).context("the line with the names of the columns cannot be read")?,
        None => csv::StringRecord::new(),
    };
    let columns: Vec<Option<&'static str>> = headers.iter().map(column).collect();
    if !columns.contains(&Some("recipient")) {
        let found = headers.iter().collect::<Vec<_>>().join(", ");
        bail!("the first line names the columns \"{found}\"; expected recipient among them, and some of {}", FIELDS.join(", "));
    }
    let row = move |(line, record): (u64, Result<csv::StringRecord, String>)| {
        let record = match record {
            Ok(record) => record,
            Err(fault) => return (line, Err(fault)),
        };
        if record.len() > columns.len() {
            return (line, Err(format!("{} values for {} columns", record.len(), columns.len())));
        }
        let fields = columns.iter().zip(&record).filter_map(|(name, value)| Some(((*name)?.to_owned(), Value::from(value))));
        // An empty cell says nothing.
        (line, Ok(fields.filter(|(_, value)| value != "").collect()))
    };
    Ok(Box::new(until_broken(move || csv_record(&mut reader, &mut lines)).map(row)))
}

/// The next record and the line it begins on. The reader of the crate counts no CR LF and no empty line, so lines are counted here: a record
/// goes on while a quote is open.
fn csv_record(reader: &mut dyn BufRead, lines: &mut u64) -> Option<Numbered<csv::StringRecord>> {
    let (mut octets, mut first) = (Vec::new(), *lines + 1);
    loop {
        let room = LINE_OCTETS_MAX.saturating_sub(octets.len() as u64);
        let read = match reader.take(room).read_until(b'\n', &mut octets) {
            Ok(read) => read as u64,
            Err(fault) => return Some((first, Err(Fault::Broken(fault.to_string())))),
        };
        if read == room {
            return Some((first, Err(Fault::Row(format!("a record of {LINE_OCTETS_MAX} octets and more; is a quote left open?")))));
        }
        *lines += u64::from(read > 0);
        if read == 0 && octets.is_empty() {
            return None;
        }
        if octets.trim_ascii().is_empty() {
            octets.clear();
            first = *lines + 1;
            continue;
        }
        if read == 0 || memchr::memchr_iter(b'"', &octets).count().is_multiple_of(2) {
            break;
        }
    }
    let mut record =
        csv::ReaderBuilder::new().has_headers(false).flexible(true).trim(csv::Trim::All).buffer_capacity(octets.len()).from_reader(octets.as_slice());
    let record = record.records().next().unwrap_or_else(|| Ok(csv::StringRecord::new()));
    Some((first, record.map_err(|fault| Fault::Row(fault.to_string()))))
}

/// A row and the line it begins on, or why there is none.
type Numbered<T> = (u64, Result<T, Fault>);

/// Why a row is none.
enum Fault {
    /// It is not what it should be; others may be.
    Row(String),
    /// The file cannot be read any more.
    Broken(String),
}

impl Fault {
    fn words(self) -> String {
        match self {
            Self::Row(words) | Self::Broken(words) => words,
        }
    }
}

/// All rows, up to the first that cannot be read: what fails to be read once mostly fails for ever.
fn until_broken<T>(mut next: impl FnMut() -> Option<Numbered<T>>) -> impl Iterator<Item = (u64, Result<T, String>)> {
    let mut is_broken = false;
    std::iter::from_fn(move || {
        let (line, row) = if is_broken { None } else { next() }?;
        is_broken = matches!(row, Err(Fault::Broken(_)));
        Some((line, row.map_err(Fault::words)))
    })
}

/// Our name of a column; `None` for those that say nothing to us. Other senders' lists call the address an email.
fn column(name: &str) -> Option<&'static str> {
    let name = name.trim_start_matches('\u{feff}').trim().to_ascii_lowercase();
    match name.as_str() {
        "email" | "email_address" | "emailaddress" | "address" => Some("recipient"),
        _ => FIELDS.into_iter().find(|known| *known == name),
    }
}

fn ndjson_rows<'a>(mut reader: Box<dyn BufRead + 'a>) -> impl Iterator<Item = Row> + 'a {
    let mut number = 0;
    until_broken(move || {
        loop {
            let mut line = Vec::new();
            number += 1;
            match reader.by_ref().take(LINE_OCTETS_MAX).read_until(b'\n', &mut line) {
                Ok(0) => return None,
                Ok(read) if read as u64 == LINE_OCTETS_MAX => return Some((number, Err(Fault::Row(format!("a line of {LINE_OCTETS_MAX} octets and more"))))),
                Ok(_) if line.trim_ascii().is_empty() => {}
                Ok(_) => return Some((number, serde_json::from_slice(&line).map_err(|fault| Fault::Row(format!("no JSON object: {fault}"))))),
                Err(fault) => return Some((number, Err(Fault::Broken(fault.to_string())))),
            }
        }
    })
}

/// Writes entries as the API shows them.
pub struct Sink<W: Write>(Kind<W>);

enum Kind<W: Write> {
    Csv(Box<csv::Writer<W>>),
    Ndjson(W),
}

impl<W: Write> Sink<W> {
    /// Begins a file.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn begin(out: W, format: Format) -> anyhow::Result<Self> {
        Ok(Self(match format {
            Format::Ndjson => Kind::Ndjson(out),
            Format::Csv => {
                let mut writer = csv::Writer::from_writer(out);
                writer.write_record(FIELDS)?;
                Kind::Csv(Box::new(writer))
            }
        }))
    }

    /// One entry.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write(&mut self, entry: &Value) -> anyhow::Result<()> {
        match &mut self.0 {
            Kind::Ndjson(out) => writeln!(out, "{entry}")?,
            Kind::Csv(writer) => {
                let cell = |name: &str| match (&entry[name], name) {
                    (Value::Null, "expires_at") => "lasting".to_owned(),
                    (Value::String(text), _) => text.clone(),
                    _ => String::new(),
                };
                writer.write_record(FIELDS.map(cell))?;
            }
        }
        Ok(())
    }

    /// Ends it.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn end(self) -> anyhow::Result<()> {
        match self.0 {
            Kind::Csv(mut writer) => writer.flush()?,
            Kind::Ndjson(mut out) => out.flush()?,
        }
        Ok(())
    }
}

/// Of standard input, which is kept in memory.
const INPUT_OCTETS_MAX: u64 = 256 << 20;
const LINE_OCTETS_MAX: u64 = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn rows(text: &str, format: Format) -> Vec<String> {
        let source = Source::Read(text.as_bytes().to_vec(), format);
        let told = |(line, row): Row| format!("{line} {}", row.map_or_else(|fault| format!("! {fault}"), |fields| Value::Object(fields).to_string()));
        source.rows().unwrap().map(told).collect()
    }

    #[test]
    fn rows_are_told_by_their_lines() {
        let csv = "\u{feff}Email,reason,color\r\na@b.example,manual,red\r\n\"b,c\"@d.example,,\r\n\r\nx@y.example\r\n1,2,3,4\r\n";
        assert_eq!(
            rows(csv, Format::Csv),
            [
                "2 {\"reason\":\"manual\",\"recipient\":\"a@b.example\"}",
                "3 {\"recipient\":\"b,c@d.example\"}",
                "5 {\"recipient\":\"x@y.example\"}",
                "6 ! 4 values for 3 columns"
            ]
        );
        let ndjson = "{\"recipient\":\"a@b.example\"}\n\n[1]\n{\"x\":\n";
        let told = rows(ndjson, Format::Ndjson);
        assert_eq!(told[0], "1 {\"recipient\":\"a@b.example\"}");
        assert!(told[1].starts_with("3 ! no JSON object") && told[2].starts_with("4 ! no JSON object") && told.len() == 3, "{told:?}");
    }

    #[test]
    fn a_line_without_an_end_is_bounded() {
        let told = rows(&"x".repeat(3 * (64 << 10)), Format::Ndjson);
        assert_eq!(told[0], "1 ! a line of 65536 octets and more");
    }

    #[test]
    fn what_cannot_be_read_ends() {
        let folder = tempfile::tempdir().unwrap();
        let rows = |name: &str| {
            let path = folder.path().join(name);
            std::fs::create_dir(&path).unwrap();
            Source::open(&path, None).unwrap().rows().map(|rows| rows.take(3).map(|(line, row)| (line, row.is_ok())).collect::<Vec<_>>())
        };
        assert_eq!(rows("list.json").unwrap(), [(1, false)]);
        assert!(rows("list.csv").is_err());
    }

    #[test]
    fn a_table_without_addresses_is_none() {
        let source = Source::Read(b"name,reason\nx,y\n".to_vec(), Format::Csv);
        let fault = source.rows().err().unwrap().to_string();
        assert!(fault.starts_with("the first line names the columns \"name, reason\"; expected recipient"), "{fault}");
    }

    #[test]
    fn what_is_written_is_read_again() {
        let entry = json!({
            "scope": "example.com/news", "recipient": "\"a,b\"@d.example", "reason": "complaint", "since": "2026-11-22T12:00:00.000Z",
            "expires_at": null, "message": null, "detail": "said \"no\", and\tmore"
        });
        for format in [Format::Csv, Format::Ndjson] {
            let mut octets = Vec::new();
            let mut sink = Sink::begin(&mut octets, format).unwrap();
            sink.write(&entry).unwrap();
            sink.end().unwrap();
            let source = Source::Read(octets, format);
            let (_, fields) = source.rows().unwrap().next().unwrap();
            let fields = fields.unwrap();
            let lasting = fields["expires_at"] == "lasting" || fields["expires_at"].is_null();
            assert!(lasting && ["scope", "recipient", "reason", "since", "detail"].iter().all(|name| fields[*name] == entry[*name]), "{fields:?}");
        }
    }
}
