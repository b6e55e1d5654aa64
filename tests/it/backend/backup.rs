//! Backups in a directory.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use kamaji_telemetry::backend::store::SqliteStore;
use rusqlite::Connection;
use tempfile::TempDir;

use crate::program::PROGRAM;
use crate::servers::store::count;

/// A store, and a directory of backups.
struct Scene(TempDir);

impl Scene {
    fn new() -> Self {
        let scene = Self(tempfile::tempdir().unwrap());
        drop(SqliteStore::open(&scene.store()).unwrap());
        fs::create_dir(scene.backups()).unwrap();
        scene
    }

    fn store(&self) -> PathBuf {
        self.0.path().join("telemetry.db")
    }

    fn backups(&self) -> PathBuf {
        self.0.path().join("backups")
    }

    fn put(&self, names: &[&str]) {
        for name in names {
            fs::write(self.backups().join(name), "").unwrap();
        }
    }

    fn names(&self) -> BTreeSet<String> {
        fs::read_dir(self.backups()).unwrap().map(|file| file.unwrap().file_name().into_string().unwrap()).collect()
    }

    fn back_up(&self, retain: &str) -> Output {
        let directory = format!("--directory={}", self.backups().display());
        run(&self.store(), &[&directory, "--retain", retain])
    }

    /// Backs up, and returns the name of the new backup and the output.
    fn added(&self, retain: &str) -> (String, String) {
        let before = self.names();
        let output = self.back_up(retain);
        let message = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let mut new = self.names().difference(&before).filter(|name| *name != LOCK).cloned().collect::<Vec<_>>();
        assert_eq!(new.len(), 1, "{new:?}");
        (new.remove(0), message)
    }
}

const LOCK: &str = "telemetry.lock";

fn run(store: &Path, arguments: &[&str]) -> Output {
    let store = format!("--store=sqlite:{}", store.display());
    Command::new(PROGRAM).args(["backend", "backup", &store]).args(arguments).env_clear().output().unwrap()
}

fn error(output: Output) -> String {
    assert!(!output.status.success());
    String::from_utf8(output.stderr).unwrap()
}

fn set(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

#[test]
fn a_backup_is_added_and_the_oldest_beyond_the_number_go_and_nothing_else() {
    let scene = Scene::new();
    let [first, second, third] =
        ["telemetry-20200101T000000Z.db", "telemetry-20200101T000001Z.db", "telemetry-20210101T000000Z.db"];
    let others = ["telemetry-before-upgrade.db", "telemetry-20200101T000000Z.db.bak", "notes", "other.db.part"];
    let parts = ["telemetry-20200101T000002Z.db.part", "telemetry-20200101T000002Z.db.part-journal"];
    scene.put(&[first, second, third]);
    scene.put(&others);
    scene.put(&parts);
    let directory = "telemetry-19990101T000000Z.db";
    fs::create_dir(scene.backups().join(directory)).unwrap();
    let (new, message) = scene.added("2");
    let mut expected = set(&[third, &new, directory, LOCK]);
    expected.extend(set(&others));
    assert_eq!(scene.names(), expected);
    assert!(
        message.contains(&new) && message.contains(&format!("Deleted {first}")) && message.contains(second),
        "{message}"
    );
    assert!(!message.contains(third) && message.contains("checked"), "{message}");
    let backup = scene.backups().join(new);
    assert_eq!(count(&backup, "keys"), 2);
    drop(SqliteStore::open_existing(&backup).unwrap());
}

#[test]
fn where_the_clock_was_set_back_the_new_backup_stays() {
    let scene = Scene::new();
    scene.put(&["telemetry-29990101T000000Z.db", "telemetry-29990102T000000Z.db"]);
    let (new, message) = scene.added("2");
    assert_eq!(scene.names(), set(&[&new, "telemetry-29990102T000000Z.db", LOCK]));
    assert!(message.contains("Deleted telemetry-29990101T000000Z.db"), "{message}");
    let output = scene.back_up("1");
    // Within the same second there is one of that name already, which nothing replaces.
    if output.status.success() {
        assert_eq!(scene.names().len(), 2);
    } else {
        assert!(error(output).contains("there already"));
        assert!(scene.names().contains(&new));
    }
}

#[test]
fn a_backup_that_was_not_made_costs_no_older_one() {
    let scene = Scene::new();
    let older = ["telemetry-20200101T000000Z.db", "telemetry-20210101T000000Z.db"];
    scene.put(&older);
    let mut expected = set(&older);
    expected.insert(LOCK.to_owned());
    let held = File::create(scene.backups().join(LOCK)).unwrap();
    held.lock().unwrap();
    let message = error(scene.back_up("1"));
    assert!(message.contains("another process makes a backup") && message.contains("no backup was made"), "{message}");
    assert_eq!(scene.names(), expected);
    drop(held);
    fs::write(scene.store(), "no store").unwrap();
    let message = error(scene.back_up("1"));
    assert!(message.contains("no backup was made") && message.contains("it is no store"), "{message}");
    assert_eq!(scene.names(), expected);
    fs::remove_file(scene.store()).unwrap();
    assert!(error(scene.back_up("1")).contains("no such file"));
    assert_eq!(scene.names(), expected);
}

#[test]
fn nothing_is_left_of_a_backup_that_was_not_complete() {
    let scene = Scene::new();
    let connection = Connection::open(scene.store()).unwrap();
    connection.execute_batch("CREATE TABLE large AS SELECT randomblob(1000000) AS bytes").unwrap();
    drop(connection);
    // As on a full disk, with room for what is beside the store while it is open.
    let arguments = ["backup", &format!("--directory={}", scene.backups().display())];
    let store = format!("--store=sqlite:{}", scene.store().display());
    let limited = "trap '' XFSZ; ulimit -f 1000; exec \"$0\" backend \"$@\"";
    let output = Command::new("/bin/sh").args(["-c", limited, PROGRAM]).args(arguments).arg(&store).output().unwrap();
    let message = error(output);
    assert!(message.contains("no backup was made") && message.contains(".db: "), "{message}");
    assert_eq!(scene.names(), set(&[LOCK]));
    // Restoring is the same in the other direction.
    let (backup, _) = scene.added("1");
    let (backup, target) = (scene.backups().join(backup), scene.0.path().join("restored.db"));
    let store = format!("--store=sqlite:{}", target.display());
    let restore = ["restore", backup.to_str().unwrap(), &store];
    let message = error(Command::new("/bin/sh").args(["-c", limited, PROGRAM]).args(restore).output().unwrap());
    assert!(message.contains("nothing was restored"), "{message}");
    let left = |suffix: &str| scene.0.path().join(format!("restored.db{suffix}")).exists();
    assert!(!left(".part") && !left(".part-journal") && !left(""), "{message}");

    // The next one may be of the same second.
    fs::remove_file(&backup).unwrap();
    let newer = "INSERT INTO refinery_schema_history (version, name) VALUES (1000, 'later')";
    Connection::open(scene.store()).unwrap().execute_batch(newer).unwrap();
    let before = scene.names();
    let message = error(scene.back_up("1"));
    assert!(message.contains("version 1000"), "{message}");
    assert_eq!(scene.names(), before);
}

#[test]
fn a_store_in_the_directory_that_would_be_taken_for_a_backup_is_left_alone() {
    let scene = Scene::new();
    let directory = format!("--directory={}", scene.backups().display());
    for name in ["telemetry-20200101T000000Z.db", "telemetry"] {
        let store = scene.backups().join(name);
        let held = SqliteStore::open(&store).unwrap();
        let link = scene.backups().join("link.db");
        std::os::unix::fs::symlink(&store, &link).unwrap();
        let inside = scene.backups().join("../backups").join(name);
        let through = if name == "telemetry" { store.clone() } else { link.clone() };
        for path in [&store, &inside, &through] {
            let message = error(run(path, &[&directory, "--retain=1"]));
            assert!(message.contains(name) && message.contains("expected another directory"), "{message}");
        }
        assert!(store.exists());
        fs::remove_file(link).unwrap();
        drop(held);
        fs::remove_file(store).unwrap();
    }
    let store = scene.backups().join("telemetry.db");
    let held = SqliteStore::open(&store).unwrap();
    assert!(run(&store, &[&directory, "--retain=1"]).status.success(), "a store of another name");
    assert!(store.exists());
    drop(held);
}

#[test]
fn it_is_one_file_or_a_directory_that_is_there_and_a_number() {
    let scene = Scene::new();
    let directory = format!("--directory={}", scene.backups().display());
    let file = scene.0.path().join("copy.db").display().to_string();
    for (arguments, expected) in [
        (vec![], vec!["FILE"]),
        (vec![&*file, &*directory], vec!["--directory", "cannot be used"]),
        (vec![&*file, "--retain=3"], vec!["--retain", "cannot be used", "FILE"]),
        (vec!["--retain=3"], vec!["--directory"]),
        (vec![&*directory, "--retain=0"], vec!["--retain", "0", "1..=1000"]),
        (vec![&*directory, "--retain=1001"], vec!["--retain", "1001", "1..=1000"]),
        (vec!["--directory=/nowhere/backups"], vec!["/nowhere/backups", "no such directory"]),
    ] {
        let message = error(run(&scene.store(), &arguments));
        assert!(expected.iter().all(|part| message.contains(part)), "{arguments:?}: {message}");
        assert!(scene.names().is_empty(), "{arguments:?}");
    }
    assert!(run(&scene.store(), &[&directory]).status.success(), "the number has a default");
}
