//! A root directory with the files of the base image and one component's binary, and a way to run that in it.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

use crate::servers::Launch;

/// The user of the image's processes.
pub(crate) const USER: u32 = 65532;

/// The path of the image's one program.
pub(crate) const PROGRAM: &str = "/usr/local/bin/kamaji-telemetry";

/// The environment that the base image sets.
pub(crate) const ENVIRONMENT: [(&str, &str); 2] = [
    ("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"),
    ("SSL_CERT_FILE", "/etc/ssl/certs/ca-certificates.crt"),
];

/// The packages of the base image, without libssl, which no binary here may need.
pub(crate) const PACKAGES: [&str; 8] =
    ["base-files", "netbase", "tzdata", "media-types", "libc6", "libgomp1", "libstdc++6", "libgcc-s1"];

/// Directories that no program reads.
const UNREAD: [&str; 3] = ["/usr/share/doc/", "/usr/share/man/", "/usr/share/lintian/"];

/// Files of the base image that belong to no package, and files that a kubelet mounts.
const FILES: [(&str, &str); 6] = [
    ("/etc/passwd", "root:x:0:0:root:/root:/sbin/nologin\nnonroot:x:65532:65532:nonroot:/home/nonroot:/sbin/nologin\n"),
    ("/etc/group", "root:x:0:\nnonroot:x:65532:\n"),
    ("/etc/nsswitch.conf", "passwd: compat\ngroup: compat\nhosts: files dns\n"),
    ("/etc/hostname", "kamaji-telemetry-0\n"),
    ("/etc/hosts", "127.0.0.1 localhost\n"),
    ("/etc/resolv.conf", ""),
];

/// The components, each of which has an image with a binary of its own.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Component {
    Agent,
    Backend,
}

impl Component {
    pub(crate) const ALL: [Self; 2] = [Self::Agent, Self::Backend];

    /// The name of the component in the image's name, which is that of its cargo feature.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::Backend => "backend",
        }
    }

    /// Returns the binary as `make binaries` built it. It must be newer than its sources.
    pub(crate) fn binary(self) -> PathBuf {
        let binary = self.built("ci");
        let modified = |path: &Path| fs::metadata(path).and_then(|metadata| metadata.modified());
        let Ok(finished) = modified(&binary) else { panic!("{} isn't there: run `make binaries`", binary.display()) };
        for source in self.sources() {
            let is_older = modified(&source).is_ok_and(|changed| changed <= finished);
            assert!(is_older, "{} has changed since the binary was built: run `make binaries`", source.display());
        }
        binary
    }

    /// Returns the binary as it is shipped, which `make dist` built.
    pub(crate) fn shipped(self) -> PathBuf {
        self.built("dist")
    }

    /// Returns the files of this checkout that the binary was built from.
    pub(crate) fn sources(self) -> Vec<PathBuf> {
        let list = self.built("ci").with_extension("d");
        let list =
            fs::read_to_string(&list).unwrap_or_else(|_| panic!("{} isn't there: run `make binaries`", list.display()));
        prerequisites(&list)
    }

    /// The path where the Makefile puts the binary of a profile, beside cargo's directory for integration tests.
    fn built(self, profile: &str) -> PathBuf {
        let images = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("images");
        images.join(profile).join(self.name()).join("kamaji-telemetry")
    }
}

/// A root directory without /proc and /dev, whose user can write to its volumes alone, as in the chart's pods. Where the
/// tests don't run as root all files belong to its user, who can then write to all of them.
pub(crate) struct Root {
    folder: TempDir,
}

impl Root {
    /// Creates a root directory with the binary of `component`.
    pub(crate) fn new(component: Component) -> Self {
        Self::of(&component.binary())
    }

    /// Creates a root directory with `binary`.
    pub(crate) fn of(binary: &Path) -> Self {
        let root = Self { folder: tempfile::tempdir().unwrap() };
        fs::set_permissions(root.folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        for directory in ["usr/lib", "usr/lib64", "usr/local/bin", "etc/ssl/certs", "home/nonroot", "run", "tmp", "var"]
        {
            fs::create_dir_all(root.folder.path().join(directory)).unwrap();
        }
        // Debian's packages name either side of the first two, depending on the release. None may lead out of here.
        for (link, target) in [("lib", "usr/lib"), ("lib64", "usr/lib64"), ("var/run", "../run")] {
            symlink(target, root.folder.path().join(link)).unwrap();
        }
        for path in packaged() {
            root.copy(&path);
        }
        root.copy("/etc/ssl/certs/ca-certificates.crt");
        for (path, content) in FILES {
            root.write(path, content);
        }
        fs::copy(binary, root.path(PROGRAM)).unwrap_or_else(|error| panic!("{}: {error}", binary.display()));
        root
    }

    /// Returns the path on this machine.
    pub(crate) fn path(&self, inside: &str) -> PathBuf {
        self.folder.path().join(inside.trim_start_matches('/'))
    }

    /// Writes a file that everybody can read, and creates its parent directories.
    pub(crate) fn write(&self, inside: &str, content: impl AsRef<[u8]>) {
        let path = self.path(inside);
        fs::create_dir_all(path.parent().expect("a file is in a folder")).unwrap();
        fs::write(path, content).unwrap();
    }

    /// Creates a directory that the image's user can write to.
    pub(crate) fn volume(&self, inside: &str) {
        fs::create_dir_all(self.path(inside)).unwrap();
        if is_root() {
            chown(self.path(inside), Some(USER), Some(USER)).unwrap();
        }
    }

    /// Returns the command that runs the program in its root, with the image's environment and `environment`.
    pub(crate) fn launch(&self, arguments: &[&str], environment: &[(&str, &str)]) -> Launch {
        let user = USER.to_string();
        let how = if is_root() {
            vec![format!("--setgid={user}"), format!("--setuid={user}")]
        } else {
            vec!["--user".into(), format!("--map-user={user}"), format!("--map-group={user}")]
        };
        let target = [format!("--root={}", self.folder.path().display()), "--wd=/home/nonroot".into(), PROGRAM.into()];
        let arguments = arguments.iter().map(|argument| (*argument).to_owned());
        let variables = ENVIRONMENT.iter().chain(environment);
        Launch {
            program: "/usr/bin/unshare".into(),
            arguments: how.into_iter().chain(target).chain(arguments).collect(),
            environment: variables.map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
        }
    }

    /// Runs the program, which must end with success, and returns its standard output.
    pub(crate) fn run(&self, arguments: &[&str]) -> String {
        let Output { status, stdout, stderr } = self.output(arguments);
        assert!(
            status.success(),
            "{arguments:?}: {status}: {}\nWhere it is unshare that failed: it needs root, or user namespaces for everybody \
             (on Ubuntu `sysctl kernel.apparmor_restrict_unprivileged_userns=0`)",
            String::from_utf8_lossy(&stderr)
        );
        String::from_utf8(stdout).unwrap()
    }

    /// Runs the program, and returns its status and output.
    pub(crate) fn output(&self, arguments: &[&str]) -> Output {
        let Launch { program, arguments, environment } = self.launch(arguments, &[]);
        let output = Command::new(&program).args(&arguments).env_clear().envs(environment).output();
        output.unwrap_or_else(|error| panic!("{} (of util-linux): {error}", program.display()))
    }

    fn copy(&self, path: &str) {
        let to = self.path(path);
        if Path::new(path).is_dir() {
            fs::create_dir_all(to).unwrap();
        } else {
            fs::create_dir_all(to.parent().expect("a file is in a folder")).unwrap();
            fs::copy(path, to).unwrap_or_else(|error| panic!("{path}: {error}"));
        }
    }
}

/// Returns the paths of the files that [`PACKAGES`] installed on this machine.
fn packaged() -> Vec<String> {
    let listed = Command::new("dpkg").arg("--listfiles").args(PACKAGES).output();
    let listed = listed.expect("`dpkg` is there: the base image's files are taken from Debian's or Ubuntu's packages");
    assert!(listed.status.success(), "{}", String::from_utf8_lossy(&listed.stderr));
    let paths = String::from_utf8(listed.stdout).unwrap();
    let paths =
        paths.lines().filter(|path| path.starts_with('/') && !UNREAD.iter().any(|unread| path.starts_with(unread)));
    // A package may have been installed without some of its files.
    paths.filter(|path| Path::new(path).exists()).map(str::to_owned).collect()
}

fn is_root() -> bool {
    fs::metadata("/proc/self").unwrap().uid() == 0
}

/// Returns the paths after the colon of a make rule, where a space in a path is escaped with a backslash.
fn prerequisites(rule: &str) -> Vec<PathBuf> {
    let (_, paths) = rule.split_once(": ").unwrap_or_else(|| panic!("{rule:?} is no rule"));
    // No path holds a NUL.
    let paths = paths.replace("\\ ", "\0");
    paths.split_whitespace().map(|path| PathBuf::from(path.replace('\0', " "))).collect()
}

#[test]
fn a_path_with_a_space_in_it_is_one_path() {
    let rule = "/home/a\\ b/target/release/it: /home/a\\ b/src/lib.rs /home/a\\ b/src/x\\ \\ y.rs\n";
    assert_eq!(prerequisites(rule), ["/home/a b/src/lib.rs", "/home/a b/src/x  y.rs"].map(PathBuf::from));
}
