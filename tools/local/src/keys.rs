//! The keys that sign tokens and command ids.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// The name of the file in the data directory.
const FILE_NAME: &str = "signing-keys";
/// The length of a key, in bytes.
const KEY_BYTES: usize = 32;

/// Returns the keys in the form that the functions read, `kid:base64[,kid:base64...]`. The first key signs; all keys
/// verify.
///
/// The file in `data_dir` keeps them, because tokens outlive a restart. Only its owner can read it.
pub(crate) fn load_or_create(data_dir: &Path) -> io::Result<String> {
    let path = data_dir.join(FILE_NAME);
    match std::fs::read_to_string(&path) {
        Ok(keys) => Ok(keys.trim().to_owned()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let keys = generate();
            // A rename of a complete file: a crash leaves no partial key.
            let partial = data_dir.join(format!("{FILE_NAME}.new"));
            let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&partial)?;
            file.write_all(keys.as_bytes())?;
            file.sync_all()?;
            std::fs::rename(&partial, &path)?;
            Ok(keys)
        }
        Err(error) => Err(error),
    }
}

/// Returns a new key.
#[must_use]
pub(crate) fn generate() -> String {
    format!("local:{}", STANDARD.encode(rand::random::<[u8; KEY_BYTES]>()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn keys_outlive_a_restart_and_only_their_owner_can_read_them() {
        let dir = tempfile::tempdir().unwrap();
        let keys = load_or_create(dir.path()).unwrap();
        assert_eq!(load_or_create(dir.path()).unwrap(), keys);
        let mode = std::fs::metadata(dir.path().join(FILE_NAME)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let (_, key) = keys.split_once(':').unwrap();
        assert_eq!(STANDARD.decode(key).unwrap().len(), KEY_BYTES);
    }

    #[test]
    fn no_two_directories_share_a_key() {
        assert_ne!(generate(), generate());
    }
}
