//! The program.

/// Faster than the system's on this load, and it gives memory back; see docs/adr.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    cmsync::main()
}
