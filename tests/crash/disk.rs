//! What is on a disk after the power went: a model of files and directories by what `recorder.c` wrote down.
//!
//! Durable is what an fsync of the file covered that began after the write, and for names an fsync of their directory. Everything else may
//! be there or not, as [`Temper`] says, in pieces of 512 octets. That is stricter than any file system of today: ext4 and XFS keep
//! the order of names.

use rand::Rng;
use rand::rngs::StdRng;
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

/// A directory with all that is below it: what is durable of it, and what is not yet.
#[derive(Clone, Default)]
pub struct Disk {
    root: PathBuf,
    files: Vec<File>,
    /// Names as a program sees them.
    seen: BTreeMap<PathBuf, Node>,
    /// Names as they are on the disk.
    durable: BTreeMap<PathBuf, Node>,
    renamings: Vec<Renaming>,
    inodes: HashMap<u64, usize>,
    /// Where the record was read up to.
    position: usize,
    /// It says that it synced and did not: what no program survives, to see that it would be found.
    pub lies: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Node {
    Directory,
    File(usize),
}

#[derive(Clone, Default)]
struct File {
    durable: Vec<u8>,
    pending: Vec<(u64, Change)>,
}

#[derive(Clone)]
enum Change {
    Write(usize, Vec<u8>),
    Cut(usize),
}

/// A name that came (`Some`) or went.
#[derive(Clone)]
struct Renaming {
    at: u64,
    path: PathBuf,
    node: Option<Node>,
}

/// What a disk keeps of that which nobody synced.
#[derive(Clone, Copy, Debug)]
pub enum Temper {
    Nothing,
    Everything,
    /// What came first, up to somewhere in the middle of a write.
    Prefix,
    /// Any of it, sector by sector.
    Scattered,
    /// Names and lengths, no contents: files full of zeros.
    NamesOnly,
}

impl Temper {
    pub fn any(chance: &mut StdRng) -> Self {
        [Self::Nothing, Self::Everything, Self::Prefix, Self::Scattered, Self::Scattered, Self::NamesOnly][chance.random_range(0..6)]
    }
}

/// One entry of a record.
pub struct Entry<'a> {
    pub at_ns: u64,
    /// Where it begins in the record.
    pub position: usize,
    inode: u64,
    offset: u64,
    what: u32,
    path: &'a Path,
    second: &'a Path,
    data: &'a [u8],
    end: usize,
}

/// Reads a record entry by entry from a position.
pub fn entries(record: &[u8], from: usize) -> impl Iterator<Item = Entry<'_>> {
    let mut at = from;
    std::iter::from_fn(move || {
        let entry = Entry::read(record, at)?;
        at = entry.end;
        Some(entry)
    })
}

impl<'a> Entry<'a> {
    fn read(record: &'a [u8], position: usize) -> Option<Self> {
        use std::os::unix::ffi::OsStrExt;
        let long = |at: usize| record.get(position + at..position + at + 8).map(|octets| u64::from_ne_bytes(octets.try_into().unwrap()));
        let short = |at: usize| record.get(position + at..position + at + 4).map(|octets| u32::from_ne_bytes(octets.try_into().unwrap()));
        let (at_ns, inode, offset, what) = (long(0)?, long(8)?, long(16)?, short(24)?);
        let (path, second, data) = (short(28)? as usize, short(32)? as usize, short(36)? as usize);
        let begin = position + 40;
        let part = |from: usize, octets: usize| record.get(begin + from..begin + from + octets);
        let name = |octets: &'a [u8]| Path::new(std::ffi::OsStr::from_bytes(octets));
        let (path_octets, second_octets) = (part(0, path)?, part(path, second)?);
        let data = part(path + second, data)?;
        let end = begin + path + second + data.len();
        Some(Self { at_ns, position, inode, offset, what, path: name(path_octets), second: name(second_octets), data, end })
    }
}

impl Disk {
    /// What is there now, all of it durable.
    pub fn of(root: &Path) -> Self {
        let mut disk = Self { root: root.to_owned(), ..Self::default() };
        disk.add(root);
        disk.durable = disk.seen.clone();
        disk
    }

    fn add(&mut self, directory: &Path) {
        self.seen.insert(directory.to_owned(), Node::Directory);
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                self.add(&path);
            } else {
                self.files.push(File { durable: std::fs::read(&path).unwrap(), pending: Vec::new() });
                self.seen.insert(path, Node::File(self.files.len() - 1));
            }
        }
    }

    /// Goes on in the record, up to but without the entry at `position`.
    pub fn advance(&mut self, record: &[u8], position: usize) {
        for entry in entries(record, self.position).take_while(|entry| entry.position < position) {
            self.apply(&entry);
            self.position = entry.end;
        }
    }

    fn apply(&mut self, entry: &Entry<'_>) {
        let at = entry.position as u64;
        let path = entry.path.to_owned();
        match entry.what {
            OPENED => {
                let file = match self.seen.get(&path) {
                    Some(Node::File(file)) => *file,
                    _ => {
                        self.files.push(File::default());
                        self.files.len() - 1
                    }
                };
                self.inodes.insert(entry.inode, file);
                if self.seen.get(&path) != Some(&Node::File(file)) {
                    self.name(at, path, Some(Node::File(file)));
                }
            }
            WRITTEN => self.file(entry.inode).pending.push((at, Change::Write(usize::try_from(entry.offset).unwrap(), entry.data.to_vec()))),
            CUT => self.file(entry.inode).pending.push((at, Change::Cut(usize::try_from(entry.offset).unwrap()))),
            SYNCED | DIRECTORY_SYNCED if self.lies => {}
            SYNCED => {
                let file = self.file(entry.inode);
                let (covered, left) = std::mem::take(&mut file.pending).into_iter().partition(|(at, _)| *at < entry.offset);
                file.pending = left;
                let covered: Vec<(u64, Change)> = covered;
                for (_, change) in &covered {
                    change.apply(&mut file.durable, |_| true);
                }
            }
            DIRECTORY_SYNCED => {
                let is_covered = |renaming: &Renaming| renaming.at < entry.offset && renaming.path.parent() == Some(entry.path);
                let (covered, left): (Vec<_>, Vec<_>) = std::mem::take(&mut self.renamings).into_iter().partition(is_covered);
                self.renamings = left;
                for renaming in &covered {
                    renaming.apply(&mut self.durable);
                }
            }
            RENAMED => {
                let node = self.seen.get(&path).copied();
                assert!(matches!(node, Some(Node::File(_))), "{} is renamed and no file", path.display());
                self.name(at, entry.second.to_owned(), node);
                self.name(at, path, None);
            }
            UNLINKED | DIRECTORY_REMOVED => self.name(at, path, None),
            DIRECTORY_MADE => self.name(at, path, Some(Node::Directory)),
            other => panic!("the program changes files by \"{}\" ({other}), which recorder.c does not know", path.display()),
        }
    }

    fn name(&mut self, at: u64, path: PathBuf, node: Option<Node>) {
        let renaming = Renaming { at, path, node };
        renaming.apply(&mut self.seen);
        self.renamings.push(renaming);
    }

    fn file(&mut self, inode: u64) -> &mut File {
        &mut self.files[self.inodes[&inode]]
    }

    /// Writes into `target` what such a disk holds after a power cut here.
    pub fn cut_power(&self, temper: Temper, chance: &mut StdRng, target: &Path) {
        let ends_at = match temper {
            Temper::Prefix => chance.random_range(0..=self.position as u64),
            Temper::Nothing => 0,
            Temper::Everything | Temper::Scattered | Temper::NamesOnly => u64::MAX,
        };
        let mut names = self.durable.clone();
        for renaming in self.renamings.iter().filter(|renaming| renaming.at < ends_at) {
            if !matches!(temper, Temper::Scattered) || chance.random() {
                renaming.apply(&mut names);
            }
        }
        for (path, node) in &names {
            let Ok(below) = path.strip_prefix(&self.root) else { continue };
            let whole = below.ancestors().skip(1).all(|above| names.get(&self.root.join(above)) == Some(&Node::Directory) || above == Path::new(""));
            let place = target.join(below);
            match node {
                _ if !whole => {}
                Node::Directory => std::fs::create_dir_all(&place).unwrap(),
                Node::File(file) => {
                    std::fs::write(&place, self.contents(*file, temper, ends_at, chance)).unwrap();
                    let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
                    std::fs::set_permissions(&place, private).unwrap();
                }
            }
        }
    }

    fn contents(&self, file: usize, temper: Temper, ends_at: u64, chance: &mut StdRng) -> Vec<u8> {
        let File { durable, pending } = &self.files[file];
        let mut octets = durable.clone();
        let mut kept = pending.iter().filter(|(at, _)| *at < ends_at).peekable();
        while let Some((_, change)) = kept.next() {
            let is_last = kept.peek().is_none();
            match temper {
                Temper::Nothing => {}
                Temper::Everything => change.apply(&mut octets, |_| true),
                Temper::Prefix => {
                    let torn_at = if is_last { chance.random_range(0..=64) } else { usize::MAX };
                    change.apply(&mut octets, |piece| piece < torn_at);
                }
                Temper::Scattered => change.apply(&mut octets, |_| chance.random()),
                Temper::NamesOnly => {
                    let length = change.length(octets.len());
                    octets.resize(length, 0);
                }
            }
        }
        octets
    }
}

impl Renaming {
    fn apply(&self, names: &mut BTreeMap<PathBuf, Node>) {
        match self.node {
            Some(node) => names.insert(self.path.clone(), node),
            None => names.remove(&self.path),
        };
    }
}

impl Change {
    /// Applies those pieces of 512 octets (counted from the first of the change) that are kept.
    fn apply(&self, octets: &mut Vec<u8>, mut is_kept: impl FnMut(usize) -> bool) {
        match self {
            Self::Cut(length) => {
                if is_kept(0) {
                    octets.resize(*length, 0);
                }
            }
            Self::Write(offset, data) => {
                let mut done = 0;
                for piece in 0.. {
                    let begin = offset + done;
                    let take = (SECTOR - begin % SECTOR).min(data.len() - done);
                    if take == 0 {
                        return;
                    }
                    if is_kept(piece) {
                        if octets.len() < begin + take {
                            octets.resize(begin + take, 0);
                        }
                        octets[begin..begin + take].copy_from_slice(&data[done..done + take]);
                    }
                    done += take;
                }
            }
        }
    }

    fn length(&self, before: usize) -> usize {
        match self {
            Self::Cut(length) => *length,
            Self::Write(offset, data) => before.max(offset + data.len()),
        }
    }
}

/// What a disk writes whole or not at all.
const SECTOR: usize = 512;

// As in recorder.c.
const OPENED: u32 = 1;
const WRITTEN: u32 = 2;
const CUT: u32 = 3;
const SYNCED: u32 = 4;
const RENAMED: u32 = 5;
const UNLINKED: u32 = 6;
const DIRECTORY_MADE: u32 = 7;
const DIRECTORY_SYNCED: u32 = 8;
const DIRECTORY_REMOVED: u32 = 9;
