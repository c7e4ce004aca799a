//! Taking the program off behind the daemon's back.
use std::path::Path;
use std::thread;

use super::{Namespace, enter};

/// Takes the program off an interface as another program could: by its link, without a word to the daemon.
///
/// # Panics
/// If the kernel refuses.
pub fn detach_link(router: &Namespace, pin: &Path) {
    const OBJ_GET: i32 = 7;
    const LINK_DETACH: i32 = 34;
    let path = std::ffi::CString::new(pin.to_str().expect("a text")).expect("no zeros");
    let netns = router.path();
    let done = thread::spawn(move || {
        enter(&netns).expect("its namespace");
        let get = [path.as_ptr() as u64, 0];
        // SAFETY: BPF_OBJ_GET reads a path that lives through the call, and 16 bytes of attributes.
        let link =
            unsafe { libc::syscall(libc::SYS_bpf, OBJ_GET, get.as_ptr(), size_of_val(&get)) };
        assert!(link >= 0, "{}", std::io::Error::last_os_error());
        let detach = [link as u64, 0];
        // SAFETY: BPF_LINK_DETACH reads 16 bytes of attributes: a descriptor of this process's own.
        let detached = unsafe {
            libc::syscall(
                libc::SYS_bpf,
                LINK_DETACH,
                detach.as_ptr(),
                size_of_val(&detach),
            )
        };
        assert_eq!(detached, 0, "{}", std::io::Error::last_os_error());
        // SAFETY: it was opened above, and nothing else has it.
        unsafe { libc::close(link as i32) };
    });
    done.join().expect("detached");
}
