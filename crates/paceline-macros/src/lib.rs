//! Owns the attribute `#[paceline::task]`: it leaves a function as it is, and registers it beside. Never decides what can
//! be a task; the traits of `paceline` do.

use proc_macro::TokenStream;
use quote::quote;
use syn::{Error, ItemFn, parse_macro_input};

/// Makes a function callable in a worker.
///
/// The function stays what it was, and can be called as before. It is known to workers by its name and the path of its
/// module. Its arguments and its result are owned values that `serde` can take apart and put together.
///
/// ```ignore
/// #[paceline::task]
/// fn square(number: u64) -> u64 {
///     number * number
/// }
/// ```
///
/// A function that is generic, `async`, or that has a `self` cannot be a task.
#[proc_macro_attribute]
pub fn task(arguments: TokenStream, item: TokenStream) -> TokenStream {
    let function = parse_macro_input!(item as ItemFn);
    let wrong = if arguments.is_empty() { wrong(&function) } else { Some("`#[paceline::task]` takes no arguments") };
    if let Some(wrong) = wrong {
        let error = Error::new_spanned(&function.sig, wrong).to_compile_error();
        return quote! { #error #function }.into();
    }
    let name = &function.sig.ident;
    let conditions = function.attrs.iter().filter(|attribute| attribute.path().is_ident("cfg"));
    quote! {
        #[allow(clippy::needless_pass_by_value, reason = "what a task is sent is its own")]
        #function
        #(#conditions)*
        ::paceline::register!(#name);
    }
    .into()
}

/// Why a function cannot be a task, as far as its signature shows.
fn wrong(function: &ItemFn) -> Option<&'static str> {
    let signature = &function.sig;
    if signature.asyncness.is_some() {
        Some("a task is an ordinary function, not an `async` one")
    } else if !signature.generics.params.is_empty() {
        Some("a task cannot be generic: a worker is told its name, which does not say for which types")
    } else if signature.receiver().is_some() {
        Some("a task takes no `self`: pass the value as an argument")
    } else if signature.unsafety.is_some() {
        Some("a task cannot be `unsafe`: nobody could vouch for the call in a worker")
    } else {
        None
    }
}
