//! Owns the attribute `#[paceline::task]`: it leaves a function as it is, and registers it beside. Never decides what can
//! be a task where types matter; the traits of `paceline` do.

use proc_macro::TokenStream;
use proc_macro2::TokenStream as Tokens;
use quote::{ToTokens, quote, quote_spanned};
use syn::{Error, FnArg, ItemFn, Safety, Type, parse_macro_input};

/// A function that is generic, `async`, `unsafe`, or that borrows an argument cannot be a task.
#[proc_macro_attribute]
pub fn task(arguments: TokenStream, item: TokenStream) -> TokenStream {
    let arguments = Tokens::from(arguments);
    let function = parse_macro_input!(item as ItemFn);
    let wrong = if arguments.is_empty() {
        wrong(&function)
    } else {
        Some(Error::new_spanned(arguments, "`#[paceline::task]` takes no arguments"))
    };
    if let Some(wrong) = wrong {
        let error = wrong.to_compile_error();
        return quote! { #error #function }.into();
    }
    let name = &function.sig.ident;
    let conditions = function.attrs.iter().filter(|attribute| attribute.path().is_ident("cfg"));
    // What is wrong with its types is shown where its name stands.
    let registered = quote_spanned! { name.span() => ::paceline::register!(#name); };
    quote! {
        #[allow(clippy::needless_pass_by_value, reason = "what a task is sent is its own")]
        #function
        #(#conditions)*
        #registered
    }
    .into()
}

/// Why a function cannot be a task, as far as its signature shows.
fn wrong(function: &ItemFn) -> Option<Error> {
    let signature = &function.sig;
    let error = |at: &dyn ToTokens, what: &str| Some(Error::new_spanned(at.to_token_stream(), what));
    if let Some(asyncness) = &signature.asyncness {
        return error(asyncness, "a task is an ordinary function, not an `async` one");
    }
    if let Safety::Unsafe(unsafety) = &signature.safety {
        return error(unsafety, "a task cannot be `unsafe`: nobody could vouch for the call in a worker");
    }
    if !signature.generics.params.is_empty() {
        let what = "a task cannot be generic: a worker is told its name, which does not say for which types";
        return error(&signature.generics, what);
    }
    signature.inputs.iter().find_map(|input| match input {
        FnArg::Receiver(receiver) => error(receiver, "a task takes no `self`: pass the value as an argument"),
        FnArg::Typed(argument) if matches!(*argument.ty, Type::Reference(_)) => {
            let what = "a task owns its arguments: take `String`, `Vec<T>` or `T` in the place of a reference";
            error(&argument.ty, what)
        }
        FnArg::Typed(_) => None,
    })
}
