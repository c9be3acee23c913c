//! Owns the attribute `#[paceline::task]`: it leaves a function as it is, and registers it beside. Never decides what can
//! be a task where types matter; the traits of `paceline` do.

use proc_macro::TokenStream;
use proc_macro2::TokenStream as Tokens;
use quote::{ToTokens, quote, quote_spanned};
use syn::{Error, FnArg, ItemFn, ReturnType, Safety, Type, parse_macro_input};

/// As many arguments as a task may have: `paceline::Task` is there for no more.
const MOST_ARGUMENTS: usize = 8;

/// A function that is generic, `async`, `unsafe`, or that borrows an argument or its result cannot be a task.
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
    if let Some(abi) = &signature.abi {
        return error(abi, "a task is an ordinary function, not an `extern` one");
    }
    if !signature.generics.params.is_empty() {
        return error(&signature.generics, GENERIC);
    }
    if let Some(argument) = signature.inputs.iter().nth(MOST_ARGUMENTS) {
        return error(argument, "a task takes up to eight arguments: put some of them into a tuple or a `struct`");
    }
    if let ReturnType::Type(_, result) = &signature.output
        && matches!(**result, Type::Reference(_))
    {
        let what = "a task owns its result: return `String`, `Vec<T>` or `T` in the place of a reference";
        return error(result, what);
    }
    signature.inputs.iter().find_map(|input| match input {
        FnArg::Receiver(receiver) => error(receiver, "a task takes no `self`: pass the value as an argument"),
        FnArg::Typed(argument) if matches!(*argument.ty, Type::Reference(_)) => {
            let what = "a task owns its arguments: take `String`, `Vec<T>` or `T` in the place of a reference";
            error(&argument.ty, what)
        }
        FnArg::Typed(argument) if matches!(*argument.ty, Type::ImplTrait(_)) => error(&argument.ty, GENERIC),
        FnArg::Typed(_) => None,
    })
}

const GENERIC: &str = "a task cannot be generic: a worker is told its name, which does not say for which types";

#[cfg(test)]
mod tests {
    use super::wrong;
    use syn::parse_quote;

    #[test]
    fn functions_that_cannot_be_tasks_are_refused_with_the_reason() {
        for (function, reason) in [
            (parse_quote! { async fn f() {} }, "`async`"),
            (parse_quote! { unsafe fn f() {} }, "`unsafe`"),
            (parse_quote! { extern "C" fn f() {} }, "`extern`"),
            (parse_quote! { fn f<T>(a: Vec<T>) {} }, "generic"),
            (parse_quote! { fn f(a: u8, b: impl Display) {} }, "generic"),
            (parse_quote! { fn f(self) {} }, "`self`"),
            (parse_quote! { fn f(a: &str) {} }, "owns its arguments"),
            (parse_quote! { fn f() -> &'static str { "" } }, "owns its result"),
            (parse_quote! { fn f(a: u8, b: u8, c: u8, d: u8, e: u8, f: u8, g: u8, h: u8, i: u8) {} }, "eight"),
        ] {
            assert!(wrong(&function).unwrap().to_string().contains(reason), "{reason}");
        }
    }

    #[test]
    fn ordinary_functions_are_tasks() {
        for function in [
            parse_quote! { fn f() {} },
            parse_quote! { pub(crate) const fn f(mut a: u8, (b, c): (u8, u8), _: ()) -> impl Sized {} },
            parse_quote! { fn f(a: u8, b: u8, c: u8, d: u8, e: u8, f: u8, g: u8, h: u8) -> Result<(), String> { Ok(()) } },
        ] {
            assert!(wrong(&function).is_none());
        }
    }
}
