//! The payload of a VM with `hypervisor = "microvm-nix"`.

use std::path::{Component, Path, PathBuf};

use serde::Deserialize;

/// The longest flake reference, in bytes: with its lock and a store path it still fits the name of what was built.
pub const REFERENCE_LEN_MAX: usize = 512;

/// The longest reference with its lock, in bytes.
const LOCKED_LEN_MAX: usize = 768;

/// How references begin that mean the same on every host.
const SCHEMES: &[&str] = &[
    "github:",
    "gitlab:",
    "sourcehut:",
    "git+https://",
    "git+ssh://",
    "git+http://",
    "git+file:///",
    "hg+https://",
    "hg+ssh://",
    "https://",
    "http://",
    "tarball+https://",
    "tarball+file:///",
    "path:/",
    "flake:",
    "/",
];

/// What a VM is built from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NixSpec {
    /// From a flake's `nixosConfigurations.NAME`.
    Flake {
        /// The flake, absolute, without a fragment.
        reference: String,
        /// The configuration; none for the one that is named as the VM.
        name: Option<String>,
        /// The reference with a revision or a hash, when who wrote the spec has settled it; otherwise the first host does.
        locked: Option<String>,
    },
    /// From a NixOS module.
    File {
        /// The module.
        text: String,
        /// The flake that microvm.nix and nixpkgs come from; none for the host's own choice.
        base: Option<String>,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Form {
    flake: Option<String>,
    locked: Option<String>,
    file: Option<String>,
    base: Option<String>,
}

impl NixSpec {
    /// Reads a payload, TOML with either `flake = "REF#NAME"`, or `file = '''a NixOS module'''` and perhaps
    /// `base = "REF"`.
    ///
    /// # Errors
    /// What is wrong, and how to mend it.
    pub fn parse(payload: &str) -> Result<Self, String> {
        let form: Form = toml::from_str(payload).map_err(|error| error.to_string())?;
        match form {
            Form { flake: Some(_), file: Some(_), .. } => Err("give either flake or file, not both".into()),
            Form { flake: Some(_), base: Some(_), .. } => {
                Err("base goes with file: a flake brings its own inputs".into())
            }
            Form { flake: Some(flake), locked, .. } => Self::flake(&flake, locked),
            Form { locked: Some(_), .. } => Err("locked goes with flake".into()),
            Form { file: Some(text), base, .. } => {
                if text.trim().is_empty() || text.contains('\0') {
                    return Err("file is empty or holds a NUL byte: it is the text of a NixOS module".into());
                }
                base.as_deref().map_or(Ok(()), |base| check_reference("base", base))?;
                Ok(Self::File { text, base })
            }
            Form { .. } => Err(
                "flake is missing: name one, as in flake = \"github:me/vms#web\", or give a module as file"
                    .into(),
            ),
        }
    }

    fn flake(flake: &str, locked: Option<String>) -> Result<Self, String> {
        let (reference, name) = match flake.split_once('#') {
            Some((reference, name)) => (reference, Some(name)),
            None => (flake, None),
        };
        check_reference("flake", reference)?;
        name.map_or(Ok(()), check_name)?;
        locked.as_deref().map_or(Ok(()), check_locked)?;
        Ok(Self::Flake { reference: reference.into(), name: name.map(String::from), locked })
    }

    /// The payload for a flake's reference, as `blixard vm create --flake` gives it. [`NixSpec::parse`] says whether it can
    /// be taken.
    #[must_use]
    pub fn for_flake(reference: &str) -> String {
        payload("flake", reference)
    }

    /// The payload for the text of a NixOS module.
    #[must_use]
    pub fn for_file(text: &str) -> String {
        payload("file", text)
    }

    /// The payload of this spec.
    #[must_use]
    pub fn payload(&self) -> String {
        let pairs = match self {
            Self::Flake { reference, name, locked } => {
                let name = name.as_ref().map(|name| format!("#{name}")).unwrap_or_default();
                vec![("flake", Some(format!("{reference}{name}"))), ("locked", locked.clone())]
            }
            Self::File { text, base } => vec![("file", Some(text.clone())), ("base", base.clone())],
        };
        let pairs =
            pairs.into_iter().filter_map(|(key, value)| Some((key.to_owned(), toml::Value::from(value?))));
        toml::Table::from_iter(pairs).to_string()
    }

    /// A reference relative to `folder`, such as `.#web`, `./vms`, or `path:../vms#web`, made absolute; all others as they
    /// are. Only who typed it knows the folder; hosts take absolute references alone.
    #[must_use]
    pub fn absolute(reference: &str, folder: &Path) -> String {
        let (flake, name) = reference.find('#').map_or((reference, ""), |at| reference.split_at(at));
        let (flake, query) = flake.find('?').map_or((flake, ""), |at| flake.split_at(at));
        let (scheme, path) = flake.strip_prefix("path:").map_or_else(|| ("", flake), |path| ("path:", path));
        // A bare word is one of nix's registry, not a folder.
        let is_path = !scheme.is_empty() || flake.is_empty() || flake.starts_with('.');
        if !is_path || path.starts_with('/') {
            return reference.into();
        }
        let mut whole = PathBuf::new();
        for part in folder.join(path).components() {
            match part {
                Component::CurDir => {}
                Component::ParentDir => {
                    whole.pop();
                }
                part => whole.push(part),
            }
        }
        format!("{scheme}{}{query}{name}", whole.display())
    }
}

fn payload(key: &str, value: &str) -> String {
    toml::Table::from_iter([(key.to_owned(), toml::Value::from(value))]).to_string()
}

/// Refuses a lock that is not one of those that this program makes: it may come from another host.
pub(super) fn check_locked(locked: &str) -> Result<(), String> {
    if locked.len() > LOCKED_LEN_MAX {
        let len = locked.len();
        return Err(format!(
            "the flake's locked reference has {len} bytes: at most {LOCKED_LEN_MAX} are stored"
        ));
    }
    // Its length was checked before it was locked.
    let short: String = locked.chars().take(REFERENCE_LEN_MAX).collect();
    check_reference("locked", &short)
}

/// Refuses what hosts would read differently, and what is no reference at all.
pub(super) fn check_reference(key: &str, reference: &str) -> Result<(), String> {
    if reference.len() > REFERENCE_LEN_MAX {
        let len = reference.len();
        return Err(format!("{key} has {len} bytes: a flake's reference has at most {REFERENCE_LEN_MAX}"));
    }
    if let Some(odd) = reference.chars().find(|c| !c.is_ascii_graphic() || "'\"\\`#$".contains(*c)) {
        return Err(format!("{key} {reference:?} is no flake's reference: {odd:?} does not belong in one"));
    }
    if !SCHEMES.iter().any(|scheme| reference.starts_with(scheme)) {
        return Err(format!(
            "{key} {reference:?} is not absolute, and other hosts would look for it elsewhere: write github:OWNER/REPO, \
             git+https://… or path:/FOLDER; `blixard vm create --flake` makes relative ones absolute"
        ));
    }
    let authority =
        reference.split_once("://").map_or("", |(_, rest)| rest.split('/').next().unwrap_or(rest));
    if authority.split_once('@').is_some_and(|(user, _)| user.contains(':')) {
        // It would be stored in the cluster and show in logs.
        return Err(format!(
            "{key} holds a password: take it out, and give the hosts access by access-tokens in nix.conf, by netrc, or by git+ssh"
        ));
    }
    Ok(())
}

fn check_name(name: &str) -> Result<(), String> {
    let fits = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if name.is_empty() || name.len() > 128 || !name.chars().all(fits) {
        return Err(format!(
            "{name:?} after '#' names no configuration: write NAME of nixosConfigurations.NAME alone, as in \"github:me/vms#web\""
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    fn check(payload: &str, expected: Expect) {
        match NixSpec::parse(payload) {
            Ok(spec) => expected.assert_eq(&format!("{spec:?}")),
            Err(error) => expected.assert_eq(error.trim_end().rsplit('\n').next().unwrap()),
        }
    }

    #[test]
    fn payloads() {
        check(
            "flake = 'github:me/vms?dir=hosts#web'",
            expect![[r#"Flake { reference: "github:me/vms?dir=hosts", name: Some("web"), locked: None }"#]],
        );
        check(
            "flake = '/srv/vms'",
            expect![[r#"Flake { reference: "/srv/vms", name: None, locked: None }"#]],
        );
        check("file = '{ }'", expect![[r#"File { text: "{ }", base: None }"#]]);
        check(
            "file = '{ }'\nbase = 'path:/srv/base'",
            expect![[r#"File { text: "{ }", base: Some("path:/srv/base") }"#]],
        );
    }

    #[test]
    fn what_cannot_be_taken_says_what_to_do() {
        for (payload, words) in [
            ("", "flake is missing: name one"),
            ("flake = '.#web'", "flake \".\" is not absolute"),
            ("flake = 'vms#web'", "flake \"vms\" is not absolute"),
            ("flake = 'path:vms#web'", "is not absolute"),
            ("flake = 'git+file:vms#web'", "is not absolute"),
            ("flake = 'github:me/vms#packages web'", "\"packages web\" after '#' names no configuration"),
            ("flake = 'github:me/vms#'", "names no configuration"),
            ("flake = 'github:me/$(id)'", "'$' does not belong in one"),
            ("flake = 'git+https://me:token@example.org/vms'", "flake holds a password"),
            ("flake = 'github:a/b'\nfile = '{ }'", "either flake or file"),
            ("flake = 'github:a/b'\nbase = 'github:c/d'", "base goes with file"),
            ("flake = 'github:a/b'\nlocked = '--impure'", "locked \"--impure\" is not absolute"),
            ("file = '{ }'\nlocked = 'github:a/b/c'", "locked goes with flake"),
            ("file = ' '", "file is empty"),
            ("file = '{ }'\nbase = '.'", "base \".\" is not absolute"),
            ("flaek = 'github:a/b'", "unknown field `flaek`"),
        ] {
            let error = NixSpec::parse(payload).unwrap_err();
            assert!(error.contains(words), "{payload}: {error}");
        }
        let long = format!("flake = 'github:me/{}'", "a".repeat(REFERENCE_LEN_MAX));
        assert!(NixSpec::parse(&long).unwrap_err().contains("at most 512"));
        assert!(!NixSpec::parse("flake = 'git+https://me:token@h/x'").unwrap_err().contains("token@"));
    }

    #[test]
    fn what_is_written_is_read_back() {
        let text = "{ pkgs, ... }:\n{\n  x = ''\n    a '''quoted''' \"b\" \\n $''{c}\n  '';\n}\n";
        let file = NixSpec::File { text: text.into(), base: None };
        assert_eq!(NixSpec::parse(&NixSpec::for_file(text)).as_ref(), Ok(&file));
        assert_eq!(NixSpec::parse(&file.payload()), Ok(file));
        let (reference, name) = ("github:me/vms".into(), Some("web".into()));
        let flake = NixSpec::Flake { reference, name, locked: None };
        assert_eq!(NixSpec::parse(&NixSpec::for_flake("github:me/vms#web")), Ok(flake));
        let locked = "flake = \"github:me/vms#web\"\nlocked = \"github:me/vms/8f3c?narHash=a\"\n";
        assert_eq!(NixSpec::parse(locked).unwrap().payload(), locked);
    }

    #[test]
    fn relative_references_are_made_absolute() {
        let absolute = |reference| NixSpec::absolute(reference, Path::new("/home/me/vms"));
        assert_eq!(absolute(".#web"), "/home/me/vms#web");
        assert_eq!(absolute("#web"), "/home/me/vms#web");
        assert_eq!(absolute("./a/../b?dir=c#web"), "/home/me/vms/b?dir=c#web");
        assert_eq!(absolute("path:../other"), "path:/home/me/other");
        for same in ["github:me/vms#web", "/srv/vms#web", "path:/srv/vms", "vms#web"] {
            assert_eq!(absolute(same), same);
        }
    }
}
