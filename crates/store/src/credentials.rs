//! Credentials and endpoint for S3: the environment first, then `~/.aws/credentials` and `~/.aws/config`.
//!
//! Only the usual AWS names are read, never our own configuration, and nothing read here is printed: the values go into
//! the client and, to blank them in texts, into [`Secrets`].

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::secrets::Secrets;

/// What an S3 client is built from.
#[derive(Default)]
pub(crate) struct S3Settings {
    pub(crate) access_key: Option<String>,
    pub(crate) secret_key: Option<String>,
    pub(crate) session_token: Option<String>,
    pub(crate) region: Option<String>,
    pub(crate) endpoint: Option<String>,
    /// A way to get credentials that only the profile names and this program does not follow (`role_arn`, `sso_...`).
    pub(crate) unsupported: Option<String>,
}

/// Variables by name.
pub(crate) type Environment = BTreeMap<String, String>;

type Section = BTreeMap<String, String>;

impl S3Settings {
    /// Looks in `environment` and the files it points to.
    pub(crate) fn find(environment: &Environment) -> S3Settings {
        let variable = |name: &str| environment.get(name).filter(|value| !value.is_empty()).cloned();
        let home = variable("HOME")
            .or_else(|| variable("USERPROFILE"))
            .map(PathBuf::from);
        let file = |name: &str, default: &str| {
            let path = variable(name)
                .map(PathBuf::from)
                .or_else(|| Some(home.as_ref()?.join(".aws").join(default)));
            path.and_then(|path| std::fs::read_to_string(path).ok())
                .unwrap_or_default()
        };
        let credentials = file("AWS_SHARED_CREDENTIALS_FILE", "credentials");
        let config = file("AWS_CONFIG_FILE", "config");
        Self::resolve(&variable, &credentials, &config)
    }

    fn resolve(variable: &dyn Fn(&str) -> Option<String>, credentials: &str, config: &str) -> S3Settings {
        let profile = variable("AWS_PROFILE").unwrap_or_else(|| "default".to_string());
        let config_name = if profile == "default" {
            profile.clone()
        } else {
            format!("profile {profile}")
        };
        let mut section = read_section(config, &config_name);
        section.extend(read_section(credentials, &profile));
        let mut settings = S3Settings {
            region: variable("AWS_REGION").or_else(|| variable("AWS_DEFAULT_REGION")),
            endpoint: variable("AWS_ENDPOINT_URL_S3").or_else(|| variable("AWS_ENDPOINT_URL")),
            ..S3Settings::default()
        };
        settings.region = settings.region.or_else(|| section.get("region").cloned());
        settings.endpoint = settings.endpoint.or_else(|| section.get("endpoint_url").cloned());
        // Key, secret and token always come from one place together.
        if let (Some(key), Some(secret)) = (variable("AWS_ACCESS_KEY_ID"), variable("AWS_SECRET_ACCESS_KEY"))
        {
            settings.access_key = Some(key);
            settings.secret_key = Some(secret);
            settings.session_token = variable("AWS_SESSION_TOKEN");
        } else if let (Some(key), Some(secret)) = (
            section.get("aws_access_key_id"),
            section.get("aws_secret_access_key"),
        ) {
            settings.access_key = Some(key.clone());
            settings.secret_key = Some(secret.clone());
            settings.session_token = section.get("aws_session_token").cloned();
        } else {
            let other = ["role_arn", "sso_session", "sso_start_url", "credential_process"];
            settings.unsupported = other
                .iter()
                .find(|name| section.contains_key(**name))
                .map(|name| (*name).to_string());
        }
        settings
    }

    pub(crate) fn secrets(&self) -> Secrets {
        let mut secrets = Secrets::default();
        for value in [&self.access_key, &self.secret_key, &self.session_token]
            .into_iter()
            .flatten()
        {
            secrets.add(value);
        }
        secrets
    }
}

/// The `name = value` lines below `[section]`; nested (indented) lines are left out.
fn read_section(text: &str, section: &str) -> Section {
    let mut found = Section::new();
    let mut inside = false;
    for line in text.lines() {
        let trimmed = line.trim();
        if let Some(name) = trimmed.strip_prefix('[').and_then(|rest| rest.split(']').next()) {
            inside = name.split_whitespace().collect::<Vec<_>>().join(" ") == section;
        } else if inside
            && !line.starts_with([' ', '\t', '#', ';'])
            && let Some((name, value)) = trimmed.split_once('=')
        {
            found.insert(name.trim().to_ascii_lowercase(), value.trim().to_string());
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const CREDENTIALS: &str = "# mine\n[default]\naws_access_key_id = DEFAULTKEY\naws_secret_access_key=default/secret=\n\n\
                               [work]\naws_access_key_id=WORKKEY\naws_secret_access_key = work-secret\naws_session_token = t\n";
    const CONFIG: &str = "[default]\nregion = eu-west-1\ns3 =\n  endpoint_url = nested\n[profile work]\nregion=us-west-2\n\
                          endpoint_url = http://localhost:9000\n[profile role]\nrole_arn = arn\n";

    fn resolve(variables: &[(&str, &str)]) -> S3Settings {
        let variables: BTreeMap<&str, &str> = variables.iter().copied().collect();
        S3Settings::resolve(
            &|name| variables.get(name).map(ToString::to_string),
            CREDENTIALS,
            CONFIG,
        )
    }

    #[test]
    fn files_are_read_by_profile() {
        let settings = resolve(&[]);
        assert_eq!(settings.access_key.as_deref(), Some("DEFAULTKEY"));
        assert_eq!(settings.secret_key.as_deref(), Some("default/secret="));
        assert_eq!(settings.region.as_deref(), Some("eu-west-1"));
        assert_eq!(settings.endpoint, None);
        let settings = resolve(&[("AWS_PROFILE", "work")]);
        assert_eq!(settings.session_token.as_deref(), Some("t"));
        assert_eq!(settings.endpoint.as_deref(), Some("http://localhost:9000"));
        assert_eq!(
            resolve(&[("AWS_PROFILE", "role")]).unsupported.as_deref(),
            Some("role_arn")
        );
    }

    #[test]
    fn the_environment_wins_and_sources_do_not_mix() {
        let settings = resolve(&[
            ("AWS_PROFILE", "work"),
            ("AWS_ACCESS_KEY_ID", "ENVKEY"),
            ("AWS_SECRET_ACCESS_KEY", "env-secret"),
            ("AWS_ENDPOINT_URL", "http://general"),
            ("AWS_ENDPOINT_URL_S3", "http://special"),
        ]);
        assert_eq!(settings.access_key.as_deref(), Some("ENVKEY"));
        assert_eq!(settings.session_token, None);
        assert_eq!(settings.endpoint.as_deref(), Some("http://special"));
        assert_eq!(settings.region.as_deref(), Some("us-west-2"));
        assert_eq!(settings.secrets().mask("a env-secret b"), "a **** b");
        assert_eq!(format!("{:?}", settings.secrets()), "Secrets(****)");
    }
}
