//! Who an app runs as, by the files of its own root file system.

use std::io;

use appc_rooted::Root;
use appc_spec::{Annotations, App};

/// Longer than any real passwd or group file; hostile ones must not fill the memory.
const LONGEST: u64 = 16 << 20;

/// A user of a root file system, with numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// User number.
    pub uid: u32,
    /// Group number.
    pub gid: u32,
    /// Further groups that it is a member of, when it was found without a group.
    pub groups: Vec<u32>,
    /// Login name; the number when passwd has none.
    pub name: String,
    /// Home directory; `/` when passwd has none.
    pub home: String,
    /// Login shell.
    pub shell: String,
}

/// Why a user or group is not known.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No such name.
    #[error("{name:?} {kind} not found in the image's {file}: give a name that is in it, or a number")]
    Unknown {
        /// What was asked for.
        name: String,
        /// `user` or `group`.
        kind: &'static str,
        /// Where it was looked for.
        file: &'static str,
    },
    /// The file that is to say the owner, or passwd or group, cannot be read.
    #[error(
        "reading {path} in the image for its {kind}: {cause}: give a name or a number, or the path of a file in the image"
    )]
    Read {
        /// The file.
        path: String,
        /// `user` or `group`.
        kind: &'static str,
        /// The reason.
        cause: io::Error,
    },
}

/// Finds `user` and `group`: each a number, a name, or an absolute path whose owner is meant.
pub fn resolve(root: &Root, user: &str, group: &str) -> Result<Account, Error> {
    let passwd = Table::read(root, "/etc/passwd", "user")?;
    let uid = match number(user, "root") {
        Some(uid) => uid,
        None if user.starts_with('/') => owner(root, user, "user")?.0,
        None => passwd.number(user)?,
    };
    let gid = match number(group, "root") {
        Some(gid) => gid,
        None if group.starts_with('/') => owner(root, group, "group")?.1,
        None => Table::read(root, "/etc/group", "group")?.number(group)?,
    };
    Ok(passwd.account(user, uid, gid))
}

/// Finds who the app of an image with these annotations runs as.
///
/// # Errors
/// Those of [`resolve`].
pub fn of_app(root: &Root, app: &App, annotations: &Annotations) -> Result<Account, Error> {
    match appc_spec::oci::names_no_group(app, annotations) {
        true => resolve_login(root, &app.user),
        false => resolve(root, &app.user, &app.group),
    }
}

/// Finds the user of `login`, which is `USER` or `USER:GROUP`. Without a group it has that of the user in passwd, and is a
/// member of those that have it in group, as in other engines.
///
/// # Errors
/// Those of [`resolve`].
pub fn resolve_login(root: &Root, login: &str) -> Result<Account, Error> {
    if let Some((user, group)) = login.split_once(':') {
        return resolve(root, user, group);
    }
    let mut account = resolve(root, login, "0")?;
    let passwd = Table::read(root, "/etc/passwd", "user")?;
    let entry = passwd.entry(login, account.uid);
    account.gid = entry.and_then(|fields| fields.get(3)?.parse().ok()).unwrap_or(0);
    account.groups = Table::read(root, "/etc/group", "group")?.with_member(&account.name);
    account.groups.retain(|gid| *gid != account.gid);
    Ok(account)
}

/// `root` is 0 also in an image without passwd.
fn number(text: &str, root: &str) -> Option<u32> {
    if text == root { Some(0) } else { text.parse().ok() }
}

fn owner(root: &Root, path: &str, kind: &'static str) -> Result<(u32, u32), Error> {
    let stat = root.stat(path).map_err(|cause| Error::Read { path: path.into(), kind, cause })?;
    Ok((stat.st_uid, stat.st_gid))
}

/// passwd or group.
struct Table {
    text: String,
    file: &'static str,
    kind: &'static str,
}

impl Table {
    /// A file that is not there is empty.
    fn read(root: &Root, file: &'static str, kind: &'static str) -> Result<Table, Error> {
        let bytes = match root.read(file, LONGEST) {
            Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Vec::new(),
            Err(cause) => return Err(Error::Read { path: file.into(), kind, cause }),
            Ok(bytes) => bytes,
        };
        Ok(Table { text: String::from_utf8_lossy(&bytes).into_owned(), file, kind })
    }

    fn lines(&self) -> impl Iterator<Item = Vec<&str>> {
        self.text.lines().map(|line| line.split(':').collect::<Vec<_>>()).filter(|fields| fields.len() >= 3)
    }

    fn number(&self, name: &str) -> Result<u32, Error> {
        self.lines()
            .find(|fields| fields[0] == name)
            .and_then(|fields| fields[2].parse().ok())
            .ok_or_else(|| Error::Unknown { name: name.into(), kind: self.kind, file: self.file })
    }

    /// The entry of `uid`; of several the one with the name asked for.
    fn entry(&self, asked: &str, uid: u32) -> Option<Vec<&str>> {
        let same = |fields: &Vec<&str>| fields[2].parse() == Ok(uid);
        self.lines().find(|f| same(f) && f[0] == asked).or_else(|| self.lines().find(same))
    }

    /// The numbers of the groups that have `name` in their list.
    fn with_member(&self, name: &str) -> Vec<u32> {
        let has = |fields: &Vec<&str>| fields.get(3).is_some_and(|members| members.split(',').any(|one| one == name));
        let mut groups: Vec<u32> = self.lines().filter(has).filter_map(|fields| fields[2].parse().ok()).collect();
        groups.sort_unstable();
        groups.dedup();
        groups
    }

    /// What passwd says about `uid`.
    fn account(&self, asked: &str, uid: u32, gid: u32) -> Account {
        let entry = self.entry(asked, uid);
        let field = |index: usize| entry.as_ref().and_then(|e| e.get(index)).filter(|f| !f.is_empty());
        let fallback = |text: &str, root: &str| if uid == 0 { root.into() } else { text.to_string() };
        Account {
            uid,
            gid,
            groups: Vec::new(),
            name: field(0).map_or_else(|| fallback(&uid.to_string(), "root"), |f| f.to_string()),
            home: field(5).map_or_else(|| fallback("/", "/root"), |f| f.to_string()),
            shell: field(6).map_or_else(|| "/bin/sh".into(), |f| f.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn fixture() -> (tempfile::TempDir, Root) {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("etc")).unwrap();
        let passwd = "root:x:0:0:root:/root:/bin/ash\nweb:x:1000:100:Web:/srv:/bin/false\nshort:x\nbare:x:7:7\n";
        fs::write(dir.path().join("etc/passwd"), passwd).unwrap();
        fs::write(dir.path().join("etc/group"), "root:x:0:\nwww:x:33:web\n").unwrap();
        let root = Root::open(dir.path()).unwrap();
        (dir, root)
    }

    #[test]
    fn names_numbers_and_owners() {
        let (dir, root) = fixture();
        let web = resolve(&root, "web", "www").unwrap();
        assert_eq!((web.uid, web.gid, web.home.as_str(), web.shell.as_str()), (1000, 33, "/srv", "/bin/false"));
        let number = resolve(&root, "1000", "5").unwrap();
        assert_eq!((number.uid, number.gid, number.name.as_str()), (1000, 5, "web"));
        let nobody = resolve(&root, "4242", "0").unwrap();
        assert_eq!((nobody.name.as_str(), nobody.home.as_str(), nobody.shell.as_str()), ("4242", "/", "/bin/sh"));
        let bare = resolve(&root, "bare", "root").unwrap();
        assert_eq!((bare.uid, bare.home.as_str()), (7, "/"));
        let owner = resolve(&root, "/etc/passwd", "/etc").unwrap();
        let stat = rustix::fs::stat(dir.path().join("etc/passwd")).unwrap();
        assert_eq!((owner.uid, owner.gid), (stat.st_uid, stat.st_gid));
    }

    #[test]
    fn a_login_has_the_group_of_its_user() {
        let (_dir, root) = fixture();
        let numbers = |login| resolve_login(&root, login).map(|a| (a.uid, a.gid, a.groups)).unwrap();
        assert_eq!(numbers("web"), (1000, 100, vec![33]));
        assert_eq!(numbers("1000"), (1000, 100, vec![33]));
        assert_eq!(numbers("web:www"), (1000, 33, vec![]));
        assert_eq!(numbers("root"), (0, 0, vec![]));
        assert_eq!(numbers("4242"), (4242, 0, vec![]));
        assert!(resolve_login(&root, "no").is_err());
    }

    #[test]
    fn unknown_ones_are_named() {
        let (_dir, root) = fixture();
        let error = |user, group| resolve(&root, user, group).unwrap_err().to_string();
        assert!(error("user2", "0").starts_with("\"user2\" user not found"));
        assert!(error("0", "nogroup").starts_with("\"nogroup\" group not found"));
        assert!(error("-1", "0").starts_with("\"-1\" user not found"));
        assert!(error("4294967296", "0").contains("user not found"));
        assert!(error("/no/such", "0").contains("/no/such"));
    }

    #[test]
    fn an_image_without_passwd_has_root() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::open(dir.path()).unwrap();
        let account = resolve(&root, "root", "root").unwrap();
        assert_eq!((account.uid, account.name.as_str(), account.home.as_str()), (0, "root", "/root"));
        assert!(resolve(&root, "web", "0").is_err());
    }
}
