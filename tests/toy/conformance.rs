//! The suite on the toy, in the one line that it takes any backend.

use taskwright_tests::toy::FreshToy;

taskwright::conformance!(toy, FreshToy);
