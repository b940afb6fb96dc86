//! Whoever is asked over TLS shows a certificate that this machine trusts and that is for its name, or is told nothing.

mod support;

// What the tests of this platform need is not all needed here.
#[allow(dead_code)]
#[path = "engine/forge.rs"]
mod forge;

use forge::Forge;
use interlock::model::ci::CiPlatform;
use serde_json::{Value, json};
use std::sync::Arc;
use support::{
    databases::Database,
    shop::{Shop, Times, demo_app, place, service},
};
use tokio::{
    io::{AsyncWriteExt, copy_bidirectional},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ServerConfig,
        crypto::ring,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    },
};

const TOKEN: &str = "hunter2hunter2";

/// Certificates that were made once: `authority` has signed `localhost` and `expired`, for that name; nobody here trusts who has signed
/// `foreign`.
const CERTIFICATES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/tls");

/// Speaks TLS with such a certificate for somebody who does not; returns its port.
async fn front(certificate: &str, behind: std::net::SocketAddr) -> u16 {
    let file = |end: &str| format!("{CERTIFICATES}/{certificate}.{end}");
    let chain = CertificateDer::pem_file_iter(file("pem")).unwrap().collect::<Result<_, _>>().unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider())).with_safe_default_protocol_versions().unwrap();
    let config = config.with_no_client_auth().with_single_cert(chain, PrivateKeyDer::from_pem_file(file("key")).unwrap()).unwrap();
    let (acceptor, listener) = (TlsAcceptor::from(Arc::new(config)), TcpListener::bind("127.0.0.1:0").await.unwrap());
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(mut secured) = acceptor.accept(stream).await else { return };
                let mut plain = TcpStream::connect(behind).await.unwrap();
                let _ = copy_bidirectional(&mut secured, &mut plain).await;
            });
        }
    });
    port
}

/// Answers everybody without TLS; returns its port.
async fn plain() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n").await;
        }
    });
    port
}

#[tokio::test]
async fn a_platform_is_asked_over_tls_and_one_without_a_good_certificate_is_told_nothing() {
    let mut shop = Shop::named("shop", Database::Sqlite);
    let head = shop.commit();
    let forge = Forge::start(CiPlatform::Github, &head).await;
    forge.says(&head, "build", "success");
    let authority = format!("{CERTIFICATES}/authority.pem");
    shop.write("interlock.toml", &configuration(&shop, "http://127.0.0.1:1"));
    shop.serve(&[("SSL_CERT_FILE", &authority)]).await;
    shop.write("token", TOKEN);
    let good = front("localhost", forge.address).await;

    let gate = ask(&shop, &head, &format!("https://localhost:{good}")).await;
    assert_eq!(gate["verdict"], "pass", "{gate:#}");
    let asked = forge.asked();
    assert!(asked.concat().contains(TOKEN), "it is told the token, as over plain HTTP: {asked:?}");

    let cases = [
        (format!("https://127.0.0.1:{good}"), "its certificate is not for `127.0.0.1`"),
        (format!("https://localhost:{}", front("expired", forge.address).await), "its certificate has expired"),
        (format!("https://localhost:{}", front("foreign", forge.address).await), "its certificate is from nobody this machine trusts"),
        (format!("https://localhost:{}", plain().await), "no TLS: received corrupt message"),
    ];
    for (address, expected) in cases {
        let before = forge.asked().len();
        let gate = ask(&shop, &head, &address).await;
        assert_eq!(gate["verdict"], "inconclusive", "{address}: {gate:#}");
        assert!(gate.to_string().contains(expected), "{expected}: {gate:#}");
        assert!(!forge.asked()[before..].concat().contains(TOKEN), "{address} is told the token");
    }
}

/// Puts an address in force, and returns what gate `ci` says of the commit.
async fn ask(shop: &Shop, commit: &str, address: &str) -> Value {
    shop.write("interlock.toml", &configuration(shop, address));
    shop.apply().await.unwrap();
    let order =
        json!({ "service": "web", "environment": "staging", "version": "1.0.0", "artifact": shop.build("1.0.0"), "commit": commit });
    let directive = shop.must("create_directive", order).await["directive"]["id"].take();
    let checked = shop.must("run_predeploy_checks", json!({ "directive": directive })).await;
    let gates = checked["gates"].as_array().unwrap();
    gates.iter().find(|gate| gate["gate"] == "ci").unwrap_or_else(|| panic!("{checked:#}")).clone()
}

fn configuration(shop: &Shop, address: &str) -> String {
    let token = shop.root().join("token");
    let ci = format!(
        "[ci]\nplatform = \"github\"\nrepository = \"shop/web\"\naddress = \"{address}\"\ntoken = \"file:{}\"\nchecks = [\"build\"]\n",
        token.display()
    );
    format!("{}{}[environments.staging.gates]\nci = {{}}\n{ci}", service(&demo_app(), Times::SHORT), place("staging", shop.staging))
}
