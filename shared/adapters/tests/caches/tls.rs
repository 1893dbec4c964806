//! Redis behind TLS. An environment variable names the trusted authorities. A test must not change it for other tests, so each
//! of these tests runs in a separate process.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use adapters::contract::cache::{self, Caches};
use adapters::contract::time::Time;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tempfile::TempDir;

use super::failures::{closed_in_the_meantime, failure};
use super::server::Server;

/// The variable that names the file with the trusted certificates, instead of the system's.
const TRUSTED: &str = "SSL_CERT_FILE";
/// The variable that names the same file, for a process that was started to run one test. `SSL_CERT_FILE` may be set outside of
/// tests, and this test must not write to that file.
const AUTHORITY_FILE: &str = "WATERSHED_TEST_AUTHORITY_FILE";

/// A certificate authority.
pub(crate) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    directory: TempDir,
}

/// The certificate and the key of a server.
pub(crate) struct Identity {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
}

impl Authority {
    /// Makes an authority that is not trusted.
    fn unknown() -> Self {
        let mut parameters = CertificateParams::default();
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(parameters, KeyPair::generate().unwrap()).unwrap();
        Self { issuer, directory: tempfile::tempdir().unwrap() }
    }

    /// Starts a process that runs the test of this name, and fails if the test fails there. Returns the trusted authority
    /// inside that process, and `None` outside.
    pub(crate) fn trusted(test: &str) -> Option<Self> {
        if let Some(file) = std::env::var_os(AUTHORITY_FILE) {
            let authority = Self::unknown();
            std::fs::write(file, authority.issuer.pem()).unwrap();
            return Some(authority);
        }
        let directory = tempfile::tempdir().unwrap();
        let mut child = Command::new(std::env::current_exe().unwrap());
        let file = directory.path().join("authority.pem");
        child.args(["--exact", test]).env(AUTHORITY_FILE, &file).env(TRUSTED, &file).env_remove("SSL_CERT_DIR");
        let output = child.output().unwrap();
        let stdout = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && stdout.contains("1 passed"), "{stdout}");
        None
    }

    /// Certifies a server's name or address.
    pub(crate) fn certify(&self, name: &str) -> Identity {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new([name.to_owned()]).unwrap().signed_by(&key, &self.issuer).unwrap();
        let write = |ending: &str, text: String| -> PathBuf {
            let path = self.directory.path().join(Path::new(name).with_added_extension(ending));
            std::fs::write(&path, text).unwrap();
            path
        };
        Identity { certificate: write("pem", certificate.pem()), key: write("key", key.serialize_pem()) }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_shared_cache_in_redis_keeps_its_contract_over_tls() {
    let test = "tls::the_shared_cache_in_redis_keeps_its_contract_over_tls";
    let Some(authority) = Authority::trusted(test) else { return };
    let server = Server::start_with_tls(&authority.certify("127.0.0.1"));
    let shared = Arc::new(server.patient_cache());
    let updater = Arc::new(server.patient_cache());
    cache::suite(&Caches { shared, updater, time: Time::Real }).await;
    closed_in_the_meantime(&server).await;
}

#[tokio::test]
async fn a_server_that_does_not_prove_its_name_is_refused() {
    let Some(authority) = Authority::trusted("tls::a_server_that_does_not_prove_its_name_is_refused") else { return };
    let stranger = Authority::unknown();
    for (identity, reason) in [
        (stranger.certify("127.0.0.1"), "BadSignature"),
        (authority.certify("localhost"), "certificate not valid for name"),
    ] {
        let server = Server::start_with_tls(&identity);
        let output = failure(&server.patient_cache()).await;
        assert!(output.starts_with("invalid peer certificate: ") && output.contains(reason), "{output}");
    }
}
