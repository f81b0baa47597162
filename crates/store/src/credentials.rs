//! Where S3 credentials come from: the environment, then the profile files of the AWS tools. Nowhere else.

use std::path::PathBuf;

/// What was found; never printed.
#[derive(Default)]
pub(crate) struct Settings {
    pub(crate) access_key_id: Option<String>,
    pub(crate) secret_access_key: Option<String>,
    pub(crate) session_token: Option<String>,
    pub(crate) region: Option<String>,
    pub(crate) endpoint: Option<String>,
}

fn environment(names: &[&str]) -> Option<String> {
    names.iter().find_map(|name| std::env::var(name).ok().filter(|value| !value.is_empty()))
}

impl Settings {
    /// The environment where it says something, else the profile `AWS_PROFILE` (default `default`) of
    /// `~/.aws/credentials` and `~/.aws/config`.
    pub(crate) fn read() -> Self {
        let profile = environment(&["AWS_PROFILE"]).unwrap_or_else(|| "default".to_owned());
        let file = |variable: &str, name: &str| {
            let path = environment(&[variable]).map(PathBuf::from).or_else(|| {
                environment(&["HOME"]).map(|home| PathBuf::from(home).join(".aws").join(name))
            })?;
            std::fs::read_to_string(path).ok()
        };
        let credentials = file("AWS_SHARED_CREDENTIALS_FILE", "credentials").unwrap_or_default();
        let config = file("AWS_CONFIG_FILE", "config").unwrap_or_default();
        let section = if profile == "default" { profile.clone() } else { format!("profile {profile}") };
        let stored = |key: &str| value(&credentials, &profile, key).or_else(|| value(&config, &section, key));
        let mut found = Self {
            access_key_id: environment(&["AWS_ACCESS_KEY_ID"]),
            secret_access_key: environment(&["AWS_SECRET_ACCESS_KEY"]),
            session_token: environment(&["AWS_SESSION_TOKEN"]),
            region: environment(&["AWS_REGION", "AWS_DEFAULT_REGION"]).or_else(|| stored("region")),
            endpoint: environment(&["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"])
                .or_else(|| stored("endpoint_url")),
        };
        // A pair belongs together: half from the environment and half from a file would never be right.
        if found.access_key_id.is_none() || found.secret_access_key.is_none() {
            found.access_key_id = stored("aws_access_key_id");
            found.secret_access_key = stored("aws_secret_access_key");
            found.session_token = stored("aws_session_token");
        }
        found
    }
}

/// `key` in the section `[section]` of an INI text.
fn value(text: &str, section: &str, key: &str) -> Option<String> {
    let mut inside = false;
    for line in text.lines().map(str::trim) {
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            inside = name.trim() == section;
        } else if inside
            && let Some((name, value)) = line.split_once('=')
            && name.trim() == key
        {
            return Some(value.trim().to_owned());
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::value;

    #[test]
    fn profiles_are_sections() {
        let text = "[default]\nregion = a\n[profile work]\n# region = x\nregion=b\nkey = c=d\n";
        assert_eq!(value(text, "default", "region").as_deref(), Some("a"));
        assert_eq!(value(text, "profile work", "region").as_deref(), Some("b"));
        assert_eq!(value(text, "profile work", "key").as_deref(), Some("c=d"));
        assert_eq!(value(text, "other", "region"), None);
    }
}
