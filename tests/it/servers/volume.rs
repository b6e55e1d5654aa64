//! A mounted volume of a Secret or a `ConfigMap`.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use tempfile::TempDir;

/// A volume whose files are replaced as by a kubelet: each file is a link into `..data`, which is a link to the folder of the
/// last update.
///
/// Source: `AtomicWriter` of Kubernetes, `pkg/volume/util/atomic_writer.go`.
pub(crate) struct MountedVolume {
    folder: TempDir,
    updates: u32,
}

impl MountedVolume {
    /// Creates a volume with these files: names and contents.
    pub(crate) fn new(files: &[(&str, &str)]) -> Self {
        let mut volume = Self { folder: tempfile::tempdir().expect("a temporary folder can be made"), updates: 0 };
        volume.update(files);
        volume
    }

    /// Replaces all files at once. A file that has been there keeps its name.
    pub(crate) fn update(&mut self, files: &[(&str, &str)]) {
        const WRITABLE: &str = "the folder is writable";
        let path = |name: &str| self.folder.path().join(name);
        self.updates += 1;
        let (last, next) = (format!("..{}", self.updates - 1), format!("..{}", self.updates));
        fs::create_dir(path(&next)).expect(WRITABLE);
        for (name, content) in files {
            fs::write(path(&next).join(name), content).expect(WRITABLE);
        }
        symlink(&next, path("..data_tmp")).expect(WRITABLE);
        fs::rename(path("..data_tmp"), path("..data")).expect(WRITABLE);
        for (name, _) in files {
            if !path(name).is_symlink() {
                symlink(format!("..data/{name}"), path(name)).expect(WRITABLE);
            }
        }
        if path(&last).exists() {
            fs::remove_dir_all(path(&last)).expect(WRITABLE);
        }
    }

    /// Returns the path of a file.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Returns the path of a file as text.
    pub(crate) fn file(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }
}
