//! JWTs: which keys are trusted, and what their claims must be.

use std::path::Path;

use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, JwkSet};
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use klio_entities::klass::Role;
use serde::Deserialize;

use crate::config;

/// What a JWT says.
#[derive(Clone, Debug, Deserialize)]
pub struct Claims {
    /// The org's slug.
    pub org: String,
    /// What its bearer may do.
    pub role: Role,
    /// Who it is, as the issuer knows them.
    pub sub: String,
    /// Their name.
    #[serde(default)]
    pub name: Option<String>,
    /// Until when, in seconds since 1970 UTC.
    pub exp: i64,
}

/// One key, and the one algorithm it is good for: the token's header never chooses it alone.
struct Key {
    id: Option<String>,
    algorithm: Algorithm,
    key: DecodingKey,
}

/// The keys that are trusted.
pub struct Keys {
    keys: Vec<Key>,
    issuer: Option<String>,
    audience: Option<String>,
    leeway: u64,
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keys").field("keys", &self.keys.len()).finish_non_exhaustive()
    }
}

impl Keys {
    /// Reads the keys that the settings name.
    ///
    /// # Errors
    /// Which file holds no key that can be used, and why.
    pub fn load(config: &config::Auth) -> Result<Self, String> {
        let mut keys = Vec::new();
        if let Some(secret) = &config.jwt_secret {
            keys.push(Key {
                id: None,
                algorithm: Algorithm::HS256,
                key: DecodingKey::from_secret(secret.as_bytes()),
            });
        }
        if let Some(path) = &config.jwt_public_key {
            keys.push(public_key(path)?);
        }
        if let Some(path) = &config.jwt_jwks {
            jwks(path, &mut keys)?;
        }
        Ok(Self {
            keys,
            issuer: config.jwt_issuer.clone(),
            audience: config.jwt_audience.clone(),
            leeway: config.jwt_leeway.as_secs(),
        })
    }

    /// No JWT is good.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// The claims of a good token.
    ///
    /// # Errors
    /// Why it is not good, in words fit for its bearer.
    pub fn verify(&self, token: &str) -> Result<Claims, String> {
        let header = jsonwebtoken::decode_header(token).map_err(|_| "it is not a JWT".to_owned())?;
        let candidates = self
            .keys
            .iter()
            .filter(|key| key.algorithm == header.alg && (key.id.is_none() || header.kid.is_none() || key.id == header.kid));
        let mut why = format!(
            "no key for it is known (alg {:?}, kid {})",
            header.alg,
            header.kid.as_deref().unwrap_or("not said")
        );
        for key in candidates {
            let mut validation = Validation::new(key.algorithm);
            validation.leeway = self.leeway;
            validation.validate_nbf = true;
            validation.set_required_spec_claims(&["exp"]);
            match &self.audience {
                Some(audience) => {
                    validation.set_audience(&[audience]);
                    validation.required_spec_claims.insert("aud".into());
                }
                None => validation.validate_aud = false,
            }
            if let Some(issuer) = &self.issuer {
                validation.set_issuer(&[issuer]);
                validation.required_spec_claims.insert("iss".into());
            }
            match jsonwebtoken::decode::<Claims>(token, &key.key, &validation) {
                Ok(data) => return Ok(data.claims),
                Err(error) => why = reason(&error),
            }
        }
        Err(why)
    }
}

fn reason(error: &jsonwebtoken::errors::Error) -> String {
    use jsonwebtoken::errors::ErrorKind;
    match error.kind() {
        ErrorKind::ExpiredSignature => "it has expired".into(),
        ErrorKind::InvalidSignature => "its signature is not right".into(),
        ErrorKind::ImmatureSignature => "it is not valid yet (nbf)".into(),
        ErrorKind::InvalidAudience => "it is for another audience (aud)".into(),
        ErrorKind::InvalidIssuer => "it is of another issuer (iss)".into(),
        ErrorKind::MissingRequiredClaim(claim) => format!("the claim {claim} is missing"),
        ErrorKind::Json(error) => format!("its claims are not right: {error}"),
        _ => "it cannot be read".into(),
    }
}

fn public_key(path: &Path) -> Result<Key, String> {
    let text = std::fs::read(path).map_err(|error| format!("auth.jwt_public_key: {}: {error}", path.display()))?;
    // A PEM says what it holds only inside: the first that fits.
    let rsa = DecodingKey::from_rsa_pem(&text).map(|key| (Algorithm::RS256, key));
    let found = rsa.or_else(|_| DecodingKey::from_ed_pem(&text).map(|key| (Algorithm::EdDSA, key)));
    let (algorithm, key) =
        found.map_err(|_| format!("auth.jwt_public_key: {} holds no RSA or Ed25519 public key in PEM", path.display()))?;
    Ok(Key { id: None, algorithm, key })
}

fn jwks(path: &Path, keys: &mut Vec<Key>) -> Result<(), String> {
    let text = std::fs::read_to_string(path).map_err(|error| format!("auth.jwt_jwks: {}: {error}", path.display()))?;
    let set: JwkSet = serde_json::from_str(&text).map_err(|error| format!("auth.jwt_jwks: {} is not a JWKS: {error}", path.display()))?;
    let before = keys.len();
    for jwk in &set.keys {
        let algorithm = match &jwk.algorithm {
            AlgorithmParameters::RSA(_) => Algorithm::RS256,
            AlgorithmParameters::OctetKeyPair(pair) if pair.curve == EllipticCurve::Ed25519 => Algorithm::EdDSA,
            _ => continue,
        };
        let key = DecodingKey::from_jwk(jwk).map_err(|error| {
            format!(
                "auth.jwt_jwks: {}: key {}: {error}",
                path.display(),
                jwk.common.key_id.as_deref().unwrap_or("without kid")
            )
        })?;
        keys.push(Key {
            id: jwk.common.key_id.clone(),
            algorithm,
            key,
        });
    }
    if keys.len() == before {
        return Err(format!("auth.jwt_jwks: {} holds no RSA or Ed25519 key", path.display()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use jsonwebtoken::{EncodingKey, Header, encode};
    use serde_json::{Value, json};

    use super::*;

    const SECRET: &str = "0123456789abcdef0123456789abcdef";

    fn auth() -> config::Auth {
        config::Auth {
            jwt_leeway: Duration::from_secs(5),
            jwt_secret: Some(SECRET.into()),
            ..config::Config::defaults().auth
        }
    }

    fn token(claims: &Value, secret: &str) -> String {
        encode(&Header::default(), claims, &EncodingKey::from_secret(secret.as_bytes())).expect("a token")
    }

    fn exp(seconds: i64) -> i64 {
        chrono::Utc::now().timestamp() + seconds
    }

    #[test]
    fn a_good_token_and_what_is_wrong_with_others() {
        let keys = Keys::load(&config::Auth {
            jwt_issuer: Some("me".into()),
            jwt_audience: Some("klio".into()),
            ..auth()
        })
        .expect("keys");
        let good = json!({"org": "acme", "role": "agent", "sub": "u1", "exp": exp(60), "iss": "me", "aud": ["x", "klio"]});
        let claims = keys.verify(&token(&good, SECRET)).expect("a good token");
        assert_eq!((claims.org.as_str(), claims.role, claims.sub.as_str()), ("acme", Role::Agent, "u1"));
        let with = |key: &str, value: Value| {
            let mut claims = good.clone();
            match value {
                Value::Null => claims.as_object_mut().expect("an object").remove(key),
                value => claims.as_object_mut().expect("an object").insert(key.into(), value),
            };
            keys.verify(&token(&claims, SECRET)).expect_err("a wrong token")
        };
        assert_eq!(with("exp", json!(exp(-6))), "it has expired");
        assert!(with("exp", Value::Null).contains("missing field `exp`"));
        assert_eq!(with("nbf", json!(exp(60))), "it is not valid yet (nbf)");
        assert_eq!(with("iss", json!("you")), "it is of another issuer (iss)");
        assert_eq!(with("iss", Value::Null), "the claim iss is missing");
        assert_eq!(with("aud", json!("other")), "it is for another audience (aud)");
        assert_eq!(with("aud", Value::Null), "the claim aud is missing");
        assert!(with("role", json!("god")).starts_with("its claims are not right: unknown variant `god`"));
        assert!(with("org", Value::Null).contains("missing field `org`"));
        assert_eq!(
            keys.verify(&token(&good, "another secret of thirty-two bytes")).expect_err("wrong"),
            "its signature is not right"
        );
        assert_eq!(keys.verify("klio").expect_err("wrong"), "it is not a JWT");
    }

    #[test]
    fn the_header_does_not_choose_the_algorithm() {
        let keys = Keys::load(&auth()).expect("keys");
        let none = "eyJhbGciOiJub25lIn0.eyJvcmciOiJhY21lIiwicm9sZSI6Im93bmVyIiwic3ViIjoieCIsImV4cCI6OTk5OTk5OTk5OX0.";
        assert!(keys.verify(none).is_err());
        // A public key's text as the secret of HS256: the classic confusion.
        let pem = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n-----END PUBLIC KEY-----\n";
        let keys = with_file("key.pem", pem, |path| {
            Keys::load(&config::Auth {
                jwt_secret: None,
                jwt_public_key: Some(path),
                ..auth()
            })
        })
        .expect("keys");
        assert_eq!(keys.keys[0].algorithm, Algorithm::EdDSA);
        let forged = token(&json!({"org": "acme", "role": "owner", "sub": "x", "exp": exp(60)}), pem);
        assert!(keys.verify(&forged).expect_err("forged").starts_with("no key for it is known"));
    }

    /// Public keys, and tokens signed with the private ones by another implementation (node's), which were thrown away.
    const JWKS: &str = include_str!("../../tests/keys/jwks.json");
    const RSA_PEM: &str = "-----BEGIN PUBLIC KEY-----\nMIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAu+n1t1Gc5CdHfZUuyGLf\nHfvz4JOnYIzWQYT4oDsc9NpJc9wP2a/LkXDQhAdAEW5eO8dMCwoGsjoN7K3TZeXu\nA7yDgqoIdcOKesfM9T117Ylecj8uoOlBwC8FKn5YV1ewEW6AMpGVSr8HGrZTC8XB\nWxIfoNUmyzBTEleSltiNQf4EttK0OXGCh0hceP3mOonjVhUMPzyW1fQYhhKatnqU\nYm6fvAZ+973OUlamDStL63G3UjUnbNKr9LvUueUhTe9U5ZL3FpU3o/DnLcoyeTzi\nXyVHMY7MXaj8dDejgK/W2swTPE6qRKnc1smIdtpxsmsn/9BlxwiwkR9LZ2gTy7+1\nsQIDAQAB\n-----END PUBLIC KEY-----\n";
    const RS256: &str = include_str!("../../tests/keys/rs256.jwt");
    const EDDSA: &str = include_str!("../../tests/keys/eddsa.jwt");

    fn with_file<T>(name: &str, text: &str, then: impl FnOnce(std::path::PathBuf) -> T) -> T {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join(name);
        std::fs::write(&path, text).expect("a file");
        then(path)
    }

    #[test]
    fn public_keys_verify_what_others_signed() {
        let of = |config: config::Auth| Keys::load(&config);
        let jwks = with_file("keys.json", JWKS, |path| {
            of(config::Auth {
                jwt_secret: None,
                jwt_jwks: Some(path),
                ..auth()
            })
        })
        .expect("keys");
        for token in [RS256, EDDSA] {
            let claims = jwks.verify(token).expect("a good token");
            assert_eq!((claims.sub.as_str(), claims.name.as_deref()), ("u1", Some("Una")));
            // One letter of the claims changed.
            let (head, rest) = token.split_once('.').expect("three parts");
            let changed = format!("{head}.{}", rest.replacen("Y21l", "Y21m", 1));
            assert_ne!(changed, token);
            assert!(jwks.verify(&changed).is_err());
        }
        let pem = with_file("key.pem", RSA_PEM, |path| {
            of(config::Auth {
                jwt_secret: None,
                jwt_public_key: Some(path),
                ..auth()
            })
        })
        .expect("keys");
        assert!(pem.verify(RS256).is_ok());
        assert!(pem.verify(EDDSA).expect_err("another key").starts_with("no key for it is known"));
        for (name, text) in [("key.pem", "no key"), ("key.pem", "")] {
            assert!(
                with_file(name, text, |path| of(config::Auth {
                    jwt_public_key: Some(path),
                    ..auth()
                }))
                .is_err()
            );
        }
        for text in ["{}", "{\"keys\": []}", "nonsense"] {
            assert!(
                with_file("keys.json", text, |path| of(config::Auth {
                    jwt_jwks: Some(path),
                    ..auth()
                }))
                .is_err()
            );
        }
    }
}
