//! From the database's URL to the settings of a connection, encrypted or not.
//!
//! `sslmode` means what it means to libpq (<https://www.postgresql.org/docs/current/libpq-ssl.html>): `prefer` and `require` encrypt
//! and ask no certificate, `verify-ca` and `verify-full` ask one of an authority in `sslrootcert` (a PEM file), or of one of
//! Mozilla's when none is given.

use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use tokio_postgres::Config;
use tokio_postgres::config::SslMode;
use tokio_postgres_rustls::MakeRustlsConnect;
use url::Url;

use crate::store::StoreError;

/// Makes encrypted connections.
pub type Tls = MakeRustlsConnect;

/// How much of the server's certificate is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    Nothing,
    Authority,
    Name,
}

/// The settings that a URL says.
pub fn settings(url: &str) -> Result<(Config, Tls), StoreError> {
    let wrong = |why: String| StoreError::Unavailable(format!("the database's URL: {why}"));
    let mut url = Url::parse(url).map_err(|error| wrong(error.to_string()))?;
    let (mut mode, mut asked, mut root) = (SslMode::Prefer, Asked::Nothing, None);
    let mut rest = Vec::new();
    for (key, value) in url.query_pairs() {
        match key.as_ref() {
            "sslmode" | "ssl-mode" => {
                (mode, asked) = match value.as_ref() {
                    "disable" => (SslMode::Disable, Asked::Nothing),
                    "allow" | "prefer" => (SslMode::Prefer, Asked::Nothing),
                    "require" => (SslMode::Require, Asked::Nothing),
                    "verify-ca" => (SslMode::Require, Asked::Authority),
                    "verify-full" => (SslMode::Require, Asked::Name),
                    other => {
                        return Err(wrong(format!(
                            "sslmode is \"{other}\"; it may be disable, allow, prefer, require, verify-ca or verify-full"
                        )));
                    }
                }
            }
            "sslrootcert" | "ssl-root-cert" | "ssl-ca" => root = Some(value.into_owned()),
            // sqlx's own; here the number is a constant.
            "statement-cache-capacity" => {}
            _ => rest.push((key.into_owned(), value.into_owned())),
        }
    }
    url.set_query(None);
    if !rest.is_empty() {
        url.query_pairs_mut().extend_pairs(rest);
        // A space is `+` in a form; here it would be taken for a plus.
        let query = url.query().map(|query| query.replace('+', "%20"));
        url.set_query(query.as_deref());
    }
    let mut config: Config = url.as_str().parse().map_err(|error: tokio_postgres::Error| {
        // The cause names the setting; what stands around it may hold the password.
        wrong(std::error::Error::source(&error).map_or_else(|| "it is not understood".to_owned(), ToString::to_string))
    })?;
    config.ssl_mode(mode);
    Ok((config, connector(asked, root.as_deref()).map_err(wrong)?))
}

fn connector(asked: Asked, root: Option<&str>) -> Result<Tls, String> {
    let provider = Arc::new(ring::default_provider());
    let verifier: Arc<dyn ServerCertVerifier> = if asked == Asked::Nothing {
        Arc::new(Lenient {
            provider: provider.clone(),
            authorities: None,
        })
    } else {
        let mut roots = RootCertStore::empty();
        match root {
            Some(path) => {
                let unreadable = |error: &dyn std::fmt::Display| format!("sslrootcert {path}: {error}");
                for certificate in CertificateDer::pem_file_iter(path).map_err(|error| unreadable(&error))? {
                    let certificate = certificate.map_err(|error| unreadable(&error))?;
                    roots.add(certificate).map_err(|error| unreadable(&error))?;
                }
            }
            None => roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
        }
        let authorities = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone())
            .build()
            .map_err(|error| format!("sslrootcert: {error}"))?;
        match asked {
            Asked::Authority => Arc::new(Lenient {
                provider: provider.clone(),
                authorities: Some(authorities),
            }),
            _ => authorities,
        }
    };
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    Ok(MakeRustlsConnect::new(config))
}

/// Asks less than a web browser does: no certificate at all, or one of a known authority whatever name it says.
#[derive(Debug)]
struct Lenient {
    provider: Arc<CryptoProvider>,
    authorities: Option<Arc<WebPkiServerVerifier>>,
}

impl ServerCertVerifier for Lenient {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let Some(authorities) = &self.authorities else {
            return Ok(ServerCertVerified::assertion());
        };
        match authorities.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now) {
            // The name is looked at last: all else is in order.
            Err(Error::InvalidCertificate(CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. })) => {
                Ok(ServerCertVerified::assertion())
            }
            other => other,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_url_says_how() {
        let mode = |url: &str| settings(url).map(|(config, _)| config.get_ssl_mode());
        assert_eq!(mode("postgres://a:b@h/d").unwrap(), SslMode::Prefer);
        assert_eq!(mode("postgres://a:b@h/d?sslmode=disable").unwrap(), SslMode::Disable);
        assert_eq!(mode("postgres://a:b@h/d?sslmode=verify-full").unwrap(), SslMode::Require);
        let (config, _) = settings("postgres://a:b%40c@h:1/d?sslmode=require&connect_timeout=3").unwrap();
        assert_eq!(config.get_password(), Some(&b"b@c"[..]));
        assert_eq!(config.get_ports(), [1]);
        let (config, _) = settings("postgres://a@h/d?options=-c%20search_path%3Da%2Bb").unwrap();
        assert_eq!(config.get_options(), Some("-c search_path=a+b"));
    }

    #[test]
    fn what_is_wrong_is_told_without_the_password() {
        for (url, want) in [
            ("postgres://a:secret@h/d?sslmode=maybe", "sslmode is \"maybe\""),
            (
                "postgres://a:secret@h/d?sslmode=verify-full&sslrootcert=/no/such.pem",
                "sslrootcert /no/such.pem",
            ),
            ("postgres://a:secret@h/d?colour=red", "colour"),
        ] {
            let error = settings(url).map(drop).unwrap_err().to_string();
            assert!(error.contains(want) && !error.contains("secret"), "{error}");
        }
    }
}
