#![no_main]
libfuzzer_sys::fuzz_target!(|input: &[u8]| paceline_ipc::hostile::records(input));
