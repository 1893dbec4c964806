//! AWS on one machine: ministack, to which the CDK deploys as to AWS.
//!
//! It uses TLS and enforces permissions. So a call that a role does not allow, or that a queue refuses, fails here as on AWS.

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;
use std::time::Duration;

use adapters::contract::port;
use reqwest::Method;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use super::client::{Answer, Api};
use super::poll::eventually;
use super::program::{self, Leashed};
use super::tokens::Issuer;

const ACCOUNT: &str = "000000000000";
const REGION: &str = "us-east-1";
/// The access key of the administrator. It may do everything, without a signature.
const ADMINISTRATOR: &str = "test";
/// The bucket with the two documents of an issuer of tokens.
const ISSUER_BUCKET: &str = "issuer";
/// The name of ministack's log file.
const LOG: &str = "ministack.log";
/// How long ministack's child processes may outlive it.
const ORPHANS_MAX: Duration = Duration::from_secs(5);

/// The running emulator. It ends with this process.
#[derive(Debug)]
pub struct Aws {
    /// The URL with TLS.
    endpoint: String,
    /// The URL without TLS, for this process.
    url: String,
    /// The folder with the output of ministack and of the CDK, for debugging.
    logs: PathBuf,
    dir: TempDir,
    process: Leashed,
}

impl Aws {
    /// Starts ministack. Its output and the CDK's go to `logs`.
    pub async fn start(logs: PathBuf) -> Self {
        let program = program::workspace().join(".venv/bin/ministack");
        assert!(program.is_file(), "ministack is not installed: run `tools/setup.sh python`");
        std::fs::create_dir_all(&logs).unwrap();
        let (dir, address) = (tempfile::tempdir().unwrap(), SocketAddr::from((Ipv4Addr::LOCALHOST, port::unused())));
        let endpoint = format!("https://{address}");
        let certified = rcgen::generate_simple_self_signed([address.ip().to_string()]).unwrap();
        let (certificate, key) = (certificate(dir.path()), dir.path().join("key.pem"));
        std::fs::write(&certificate, certified.cert.pem()).unwrap();
        std::fs::write(&key, certified.signing_key.serialize_pem()).unwrap();
        let environment = [
            ("BIND_HOST", address.ip().to_string()),
            ("MINISTACK_HOST", address.ip().to_string()),
            ("GATEWAY_PORT", address.port().to_string()),
            ("AUTH", "true".to_owned()),
            ("USE_SSL", "1".to_owned()),
            ("MINISTACK_SSL_CERT", certificate.display().to_string()),
            ("MINISTACK_SSL_KEY", key.display().to_string()),
            // Turns off servers that ministack would start on other ports.
            ("SFTP_ENABLED", "0".to_owned()),
            ("IOT_MTLS_ENABLED", "0".to_owned()),
            // The functions inherit these variables: the URL of AWS, and the trusted certificate.
            ("AWS_ENDPOINT_URL", endpoint.clone()),
            ("SSL_CERT_FILE", certificate.display().to_string()),
            ("TMPDIR", dir.path().display().to_string()),
        ];
        let mut arguments: Vec<String> = environment.iter().map(|(name, value)| format!("{name}={value}")).collect();
        arguments.push(program.display().to_string());
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let log = File::create(logs.join(LOG)).unwrap();
        let (process, _) =
            Leashed::start(&program::find("env").unwrap(), &arguments, || log.try_clone().unwrap().into());
        let url = plain(address, certified.cert.der().clone());
        let aws = Self { endpoint, url, logs, dir, process };
        eventually("ministack is ready", async || {
            Api::new(&aws.url).get("/_ministack/ready").try_send().await.ok().filter(|answer| answer.status == 200)
        })
        .await;
        aws
    }

    /// Returns the URL of the issuer of tokens.
    pub fn issuer(&self) -> String {
        format!("{}/{ISSUER_BUCKET}", self.endpoint)
    }

    /// Publishes the documents with which the front door verifies the issuer's tokens.
    pub async fn publish(&self, issuer: &Issuer) {
        let bucket = format!("/{ISSUER_BUCKET}");
        let policy = json!({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": "*",
            "Action": "s3:GetObject", "Resource": format!("arn:aws:s3:::{ISSUER_BUCKET}/*")}]});
        let jwks = "/.well-known/jwks.json";
        let configuration = json!({"issuer": issuer.url, "jwks_uri": format!("{}{jwks}", issuer.url)});
        for (method, path, body) in [
            (Method::PUT, bucket.clone(), Value::Null),
            (Method::DELETE, format!("{bucket}?publicAccessBlock"), Value::Null),
            (Method::PUT, format!("{bucket}?policy"), policy),
            (Method::PUT, format!("{bucket}/.well-known/openid-configuration"), configuration),
            (Method::PUT, format!("{bucket}{jwks}"), issuer.key_set()),
        ] {
            let body = if body.is_null() { String::new() } else { body.to_string() };
            let answer = self.request("s3", method, &path, &[], body).await;
            assert!(answer.status < 300, "{answer}");
        }
    }

    /// Creates a secret. Returns its ARN.
    pub async fn keep_secret(&self, name: &str, text: &str) -> String {
        let secret = json!({"Name": name, "SecretString": text});
        let kept = self.call("secretsmanager", "secretsmanager.CreateSecret", &secret).await;
        kept["ARN"].as_str().unwrap_or_else(|| panic!("no ARN in {kept}")).to_owned()
    }

    /// Returns the log events of all groups whose names have this prefix.
    pub async fn logged(&self, prefix: &str) -> Vec<Value> {
        let groups = json!({"logGroupNamePrefix": prefix});
        let groups = self.call("logs", "Logs_20140328.DescribeLogGroups", &groups).await;
        let mut events = Vec::new();
        for group in groups["logGroups"].as_array().unwrap() {
            let group = json!({"logGroupName": group["logGroupName"]});
            let found = self.call("logs", "Logs_20140328.FilterLogEvents", &group).await;
            events.extend(found["events"].as_array().unwrap().iter().cloned());
        }
        events
    }

    /// Calls an API with JSON.
    pub async fn call(&self, service: &str, target: &str, body: &Value) -> Value {
        let headers = [("x-amz-target", target), ("content-type", "application/x-amz-json-1.1")];
        self.request(service, Method::POST, "/", &headers, body.to_string()).await.expect(200).json()
    }

    async fn request(
        &self,
        service: &str,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: String,
    ) -> Answer {
        let credential = format!("{ADMINISTRATOR}/20000101/{REGION}/{service}/aws4_request");
        let authorization = format!("AWS4-HMAC-SHA256 Credential={credential}, SignedHeaders=host, Signature=none");
        let call = Api::new(&self.url).call(method, path).header("authorization", &authorization).body(body);
        headers.iter().fold(call, |call, (name, value)| call.header(name, value)).send_unchecked().await
    }

    /// Returns ministack's output so far.
    pub fn output(&self) -> String {
        std::fs::read_to_string(self.logs.join(LOG)).unwrap()
    }

    /// Runs `cdk bootstrap`, which creates the resources that the CDK needs in an account.
    pub fn bootstrap(&self) {
        let account = format!("aws://{ACCOUNT}/{REGION}");
        // Runs in an empty folder: the bootstrap needs no application.
        let mut cdk = self.command(&cdk(), self.dir.path());
        self.run("bootstrap", cdk.args(["bootstrap", &account])).unwrap_or_else(|output| panic!("{output}"));
    }

    /// Deploys a stage with `make deploy`. Returns the output if that fails.
    pub fn deploy(&self, stage: &str, config: &Value) -> Result<(), String> {
        let mut make = self.command(Path::new("make"), program::workspace());
        make.args(["deploy", &format!("STAGE={stage}"), &format!("CONFIG={}", self.kept(config))]);
        self.run(&format!("deploy-{stage}"), make.arg("ARGS=--require-approval never"))
    }

    /// Synthesizes the template of a stage, with more context such as `from=cqrs-idle`.
    pub fn synthesise(&self, stage: &str, config: &Value, context: &[&str]) {
        let mut cdk = self.command(&cdk(), &program::workspace().join("cdk"));
        cdk.args(["synth", "--quiet", "--output", "cdk.deployed"]);
        cdk.args(["-c", &format!("stage={stage}"), "-c", &format!("config={}", self.kept(config))]);
        for given in context {
            cdk.args(["-c", given]);
        }
        self.run(&format!("synth-{stage}"), &mut cdk).unwrap_or_else(|output| panic!("{output}"));
    }

    /// Deploys the latest synthesized template, including a test's changes to it. Returns the outputs of the stack, or the output
    /// of the CDK if that fails.
    pub fn deploy_again(&self, name: &str) -> Result<Value, String> {
        let outputs = self.dir.path().join(format!("{name}.outputs.json"));
        let mut cdk = self.command(&cdk(), &program::workspace().join("cdk"));
        cdk.args(["deploy", "--app", "cdk.deployed", "--require-approval", "never", "--outputs-file"]).arg(&outputs);
        self.run(&format!("deploy-again-{name}"), &mut cdk)?;
        let outputs: Value = serde_json::from_slice(&std::fs::read(outputs).unwrap()).unwrap();
        Ok(outputs[name].clone())
    }

    /// Writes a configuration to a file. Returns its path.
    fn kept(&self, config: &Value) -> String {
        let file = self.dir.path().join("config.json");
        std::fs::write(&file, config.to_string()).unwrap();
        file.display().to_string()
    }

    /// Returns the local URL of an API, from the URL in a stack's outputs. The API must use its default stage.
    pub fn api_at(&self, url: &Value) -> String {
        let id = url.as_str().and_then(|url| url.strip_prefix("https://")?.split('.').next());
        let id = id.unwrap_or_else(|| panic!("{url} is not the URL of an API"));
        format!("{}/_aws/execute-api/{id}/$default", self.url)
    }

    /// Returns a command that uses this emulator as AWS.
    fn command(&self, program: &Path, dir: &Path) -> Command {
        let mut command = program::leashed(program);
        command.current_dir(dir).env_clear();
        for name in ["HOME", "PATH"] {
            command.envs(std::env::var_os(name).map(|value| (name, value)));
        }
        command.envs([
            ("AWS_ENDPOINT_URL", self.endpoint.as_str()),
            ("AWS_REGION", REGION),
            ("AWS_ACCESS_KEY_ID", ADMINISTRATOR),
            ("AWS_SECRET_ACCESS_KEY", ADMINISTRATOR),
            // No questions and no telemetry.
            ("CI", "1"),
        ]);
        command.env("NODE_EXTRA_CA_CERTS", certificate(self.dir.path()));
        command
    }

    /// Runs a program to its end. Writes its output to a log file.
    fn run(&self, log: &str, command: &mut Command) -> Result<(), String> {
        let Output { status, stdout, stderr } = command.output().unwrap();
        let output = format!("{}{}", String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
        std::fs::write(self.logs.join(format!("{log}.log")), &output).unwrap();
        if status.success() { Ok(()) } else { Err(format!("{command:?}: {status}\n{output}")) }
    }
}

/// Also kills the functions, because their processes do not end at once by themselves.
impl Drop for Aws {
    fn drop(&mut self) {
        let processes = program::descendants(self.process.pid());
        self.process.kill();
        for process in &processes {
            program::send_signal(*process, nix::sys::signal::Signal::SIGKILL);
        }
        let survivors = program::survivors(&processes, ORPHANS_MAX);
        assert!(survivors.is_empty() || std::thread::panicking(), "{survivors:?} outlived ministack");
    }
}

fn cdk() -> PathBuf {
    program::workspace().join("cdk/node_modules/.bin/cdk")
}

fn certificate(dir: &Path) -> PathBuf {
    dir.join("certificate.pem")
}

/// Starts an HTTP proxy for the TLS server at this address, until this process ends. Returns the proxy's URL.
fn plain(address: SocketAddr, certificate: CertificateDer<'static>) -> String {
    let mut roots = RootCertStore::empty();
    roots.add(certificate).unwrap();
    let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    let connector = TlsConnector::from(Arc::new(config));
    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    listener.set_nonblocking(true).unwrap();
    std::thread::spawn(move || super::run(pass_on(listener, address, connector)));
    url
}

async fn pass_on(listener: std::net::TcpListener, address: SocketAddr, connector: TlsConnector) {
    let listener = TcpListener::from_std(listener).unwrap();
    loop {
        let (mut client, _) = listener.accept().await.unwrap();
        let connector = connector.clone();
        tokio::spawn(async move {
            // Errors are expected: either side may close at any time, and the server may not listen yet.
            let server = TcpStream::connect(address).await?;
            let mut server = connector.connect(ServerName::from(address.ip()), server).await?;
            tokio::io::copy_bidirectional(&mut client, &mut server).await
        });
    }
}
