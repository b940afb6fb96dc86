//! TLS to whoever is asked. The certificate is always looked at: nothing turns that off.

use super::http::ExchangeError;
use std::{io, sync::Arc, sync::OnceLock};
use tokio::net::TcpStream;
use tokio_rustls::{
    TlsConnector,
    client::TlsStream,
    rustls::{CertificateError, ClientConfig, Error, RootCertStore, crypto::ring, pki_types::ServerName},
};

/// Whom this machine trusts, read once.
static TRUSTED: OnceLock<Arc<ClientConfig>> = OnceLock::new();

/// Returns the connection over TLS, once whoever answers has shown a good certificate for `name`.
pub(super) async fn secured(stream: TcpStream, name: &str) -> Result<TlsStream<TcpStream>, ExchangeError> {
    let config = match TRUSTED.get() {
        Some(config) => config.clone(),
        None => tokio::task::spawn_blocking(trusting).await.map_err(|err| ExchangeError::Failed(err.to_string()))??,
    };
    let server = ServerName::try_from(name.to_owned()).map_err(|_| ExchangeError::Failed(format!("`{name}` is no name of a server")))?;
    TlsConnector::from(config).connect(server, stream).await.map_err(|err| ExchangeError::Failed(said(&err, name)))
}

/// Reads whom this machine trusts: the system's certificates, or those of `SSL_CERT_FILE` and `SSL_CERT_DIR`.
fn trusting() -> Result<Arc<ClientConfig>, ExchangeError> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        let why = found.errors.first().map(|err| format!(" ({err})")).unwrap_or_default();
        let how = "install `ca-certificates`, or name a file by SSL_CERT_FILE";
        return Err(ExchangeError::Failed(format!("this machine trusts no certificate authority{why}: {how}")));
    }
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|err| ExchangeError::Failed(err.to_string()))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TRUSTED.get_or_init(|| Arc::new(config)).clone())
}

/// Says why there is no TLS, and what to do where that is known.
fn said(err: &io::Error, name: &str) -> String {
    use CertificateError::{
        Expired, ExpiredContext, NotValidForName, NotValidForNameContext, NotValidYet, NotValidYetContext, UnknownIssuer,
    };
    match err.get_ref().and_then(|err| err.downcast_ref::<Error>()) {
        Some(Error::InvalidCertificate(fault)) => match fault {
            UnknownIssuer => "its certificate is from nobody this machine trusts: put its authority among the system's certificates, or \
                              into a file named by SSL_CERT_FILE, and start the server again"
                .to_owned(),
            NotValidForName | NotValidForNameContext { .. } => format!("its certificate is not for `{name}`"),
            Expired | ExpiredContext { .. } => "its certificate has expired".to_owned(),
            NotValidYet | NotValidYetContext { .. } => "its certificate is not valid yet".to_owned(),
            other => format!("its certificate is refused: {other}"),
        },
        _ => format!("no TLS: {err}"),
    }
}
