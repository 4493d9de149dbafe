//! GnuPG with a home of its own, as makers of images use it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Some keys, gone at the end with their agent.
pub struct Gpg {
    /// Where they are.
    pub home: tempfile::TempDir,
}

impl Gpg {
    /// No keys yet.
    ///
    /// # Panics
    /// When there is no room for temporary files.
    #[expect(clippy::new_without_default, reason = "it touches the disk")]
    pub fn new() -> Gpg {
        // In /tmp: the name of the agent's socket must be short.
        let owner_only = fs::Permissions::from_mode(0o700);
        Gpg {
            home: tempfile::Builder::new()
                .prefix("gpg")
                .permissions(owner_only)
                .tempdir_in("/tmp")
                .expect("gpg's home is ours"),
        }
    }

    /// Runs `gpg` and returns what it prints.
    ///
    /// # Panics
    /// When it fails.
    pub fn run(&self, arguments: &[&str]) -> Vec<u8> {
        let mut command = Command::new("gpg");
        command.arg("--homedir").arg(self.home.path()).args(["--batch", "--yes", "--quiet", "--passphrase", ""]);
        command.args(["--pinentry-mode", "loopback"]).args(arguments).stdin(Stdio::null());
        let output = command.output().expect("the tests need gpg");
        assert!(output.status.success(), "gpg {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    }

    /// Makes a key and returns its fingerprint. `options` go in front, such as a false time.
    pub fn key(&self, options: &[&str], user: &str, algorithm: &str, usage: &str, expires: &str) -> String {
        let generate = ["--quick-gen-key", user, algorithm, usage, expires];
        self.run(&[options, &generate].concat());
        self.fingerprint(user)
    }

    /// The usual key.
    pub fn simple(&self, user: &str) -> String {
        self.key(&[], user, "ed25519", "sign", "never")
    }

    /// The fingerprint of a user's key, in lower case.
    ///
    /// # Panics
    /// When there is none.
    pub fn fingerprint(&self, user: &str) -> String {
        let listed = String::from_utf8(self.run(&["--with-colons", "--list-keys", user])).expect("text");
        let line = listed.lines().find(|l| l.starts_with("fpr:")).expect("a fingerprint");
        line.split(':').nth(9).expect("a fingerprint").to_lowercase()
    }

    /// A user's public key, armored.
    pub fn export(&self, user: &str) -> Vec<u8> {
        self.run(&["--armor", "--export", user])
    }

    /// An armored detached signature of `content`.
    pub fn sign(&self, user: &str, content: &[u8]) -> Vec<u8> {
        self.sign_with(&["--armor"], user, content)
    }

    /// A detached signature of `content`; `options` go in front.
    pub fn sign_with(&self, options: &[&str], user: &str, content: &[u8]) -> Vec<u8> {
        let path = self.file("content", content);
        let sign = ["--local-user", user, "--output", "-", "--detach-sign", path.to_str().expect("gpg's home is ours")];
        self.run(&[options, &sign].concat())
    }

    /// Takes the key back, with the certificate that was made with it.
    ///
    /// # Panics
    /// When there is no such key.
    pub fn revoke(&self, fingerprint: &str) {
        let name = format!("openpgp-revocs.d/{}.rev", fingerprint.to_uppercase());
        let certificate = fs::read_to_string(self.home.path().join(name)).expect("gpg's home is ours");
        // The colon keeps it from being used by accident.
        let path = self.file("revocation", certificate.replace(":-----BEGIN", "-----BEGIN").as_bytes());
        self.run(&["--import", path.to_str().expect("gpg's home is ours")]);
    }

    fn file(&self, name: &str, content: &[u8]) -> PathBuf {
        let path: &Path = self.home.path();
        fs::write(path.join(name), content).expect("gpg's home is ours");
        path.join(name)
    }
}

impl Drop for Gpg {
    fn drop(&mut self) {
        let mut kill = Command::new("gpgconf");
        let _ = kill.arg("--homedir").arg(self.home.path()).args(["--kill", "all"]).output();
    }
}
