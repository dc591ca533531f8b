use super::*;

fn directory() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

#[test]
fn a_private_file_is_made_once_and_read_by_nobody_else() {
    let directory = directory();
    let path = directory.path().join("secret");
    drop(create_private(&path).unwrap());
    assert_eq!(create_private(&path).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
    assert_eq!(strangers(&path, &[]).unwrap(), Vec::<String>::new());
    for text in ["s3cret", "\u{feff}s3cret"] {
        std::fs::write(&path, text).unwrap();
        assert_eq!(
            read_secret(&path).unwrap().expose_secret(),
            "s3cret",
            "an editor's mark is no secret"
        );
    }
}

#[test]
fn a_secret_is_replaced_as_a_whole() {
    let directory = directory();
    let path = directory.path().join("contoso.client-secret");
    for text in ["first", "second"] {
        replace_secret(&path, &SecretString::from(text)).unwrap();
        assert_eq!(read_secret(&path).unwrap().expose_secret(), text);
    }
    let left = || std::fs::read_dir(directory.path()).unwrap().count();
    assert_eq!(left(), 1, "nothing is left beside it");
    let neighbour = directory.path().join("contoso.new");
    std::fs::write(&neighbour, "somebody's own").unwrap();
    replace_secret(&path, &SecretString::from("third")).unwrap();
    assert_eq!(std::fs::read_to_string(&neighbour).unwrap(), "somebody's own");
    assert_eq!(left(), 2);
}

#[test]
fn what_is_under_a_key_is_opened_here_alone() {
    let directory = directory();
    let path = directory.path().join("secret");
    let secret = SecretString::from("s3cret");
    match protect(&secret) {
        Ok(sealed) => {
            assert!(cfg!(windows) && !sealed.contains("s3cret"), "{sealed}");
            std::fs::write(&path, &sealed).unwrap();
            assert!(is_protected(&path));
            assert_eq!(read_secret(&path).unwrap().expose_secret(), "s3cret");
            replace_secret(&path, &SecretString::from("another")).unwrap();
            assert!(is_protected(&path), "a renewed secret is as the old one was");
            assert_eq!(read_secret(&path).unwrap().expose_secret(), "another");
        }
        Err(error) => assert!(cfg!(unix) && error.to_string().contains("DPAPI"), "{error}"),
    }
    for (text, told) in [("dpapi:AAAA\n", "DPAPI"), ("dpapi:not base64\n", "is cut or was changed")]
    {
        std::fs::write(&path, text).unwrap();
        let error = read_secret(&path).unwrap_err().to_string();
        assert!(error.contains(told), "{error}");
    }
}

#[cfg(windows)]
#[test]
fn whoever_else_can_read_is_named_and_shut_out_by_restriction() {
    use windows_permissions::constants::{SeObjectType, SecurityInformation};
    use windows_permissions::wrappers::SetNamedSecurityInfo;
    use windows_permissions::{LocalBox, SecurityDescriptor};
    let directory = directory();
    let path = directory.path().join("secret");
    drop(create_private(&path).unwrap());
    let open: LocalBox<SecurityDescriptor> = "D:P(A;;FA;;;SY)(A;;FR;;;WD)".parse().unwrap();
    let (file, part) = (SeObjectType::SE_FILE_OBJECT, SecurityInformation::Dacl);
    SetNamedSecurityInfo(path.as_os_str(), file, part, None, None, open.dacl(), None).unwrap();
    assert_eq!(strangers(&path, &[]).unwrap(), ["Everyone"]);
    restrict(&path).unwrap();
    assert_eq!(strangers(&path, &[]).unwrap(), Vec::<String>::new());
}

#[cfg(windows)]
#[test]
fn the_service_is_known_by_the_name_that_windows_gives_it() {
    // Of a service of Windows' own, from "Service security identifiers" (TrustedInstaller).
    let known = "S-1-5-80-956008885-3418522649-1831038044-1853292631-2271478464";
    assert_eq!(platform::service_sid("TrustedInstaller"), known);
}

#[cfg(unix)]
#[test]
fn a_new_file_has_the_mode_of_the_one_it_replaces_and_of_its_directory() {
    use std::os::unix::fs::PermissionsExt as _;
    let directory = directory();
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    let set = |path: &Path, mode| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    let path = directory.path().join("secret");
    replace(&path, b"a").unwrap();
    assert_eq!(mode(&path), 0o600);
    set(&path, 0o440);
    replace(&path, b"b").unwrap();
    assert_eq!(mode(&path), 0o440);
    std::fs::remove_file(&path).unwrap();
    set(directory.path(), 0o2750);
    replace(&path, b"c").unwrap();
    assert_eq!(mode(&path), 0o640);
}
