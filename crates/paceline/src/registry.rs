//! Owns which functions workers know: each by its type, which the caller has, and by its name, which travels. Never calls
//! one by itself.

use crate::codec::{Arguments, Gather, Reader, Refusal, decode, encode};
use crate::panics::{Panic, catch};
use crate::task::Task;
use linkme::distributed_slice;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::collections::hash_map::Entry as Place;
use std::fmt::Debug;
use std::sync::OnceLock;

/// What `register!` leaves in the program for each function.
#[distributed_slice]
pub static TASKS: [Entry];

/// A function that was registered.
#[derive(Clone, Copy)]
pub struct Entry {
    /// Its name, with the path of its module.
    pub name: &'static str,
    /// Makes what is to be known of it.
    pub make: fn() -> Registered,
}

/// What is known of a function.
pub struct Registered {
    function: TypeId,
    codec: Box<dyn Any + Send + Sync>,
    perform: Perform,
}

/// Reads the arguments of one item, calls the function with them, and tells how it ended.
type Perform = Box<dyn Fn(&mut Reader<'_>, &mut Vec<u8>, &mut dyn FnMut(Ended<'_, '_>)) + Send + Sync>;

/// How a call has ended.
pub(crate) enum Ended<'a, 'b> {
    /// It has returned, and what it returned may be a failure.
    Returned(Option<&'a dyn Debug>, &'a Gather<'b>),
    Panicked(Box<Panic>),
    /// What it returned cannot be sent.
    Unsendable(Refusal),
    /// Its arguments could not be read.
    Unreadable(Refusal),
}

/// How the arguments and the result of a function travel.
pub(crate) struct Codec<A, R> {
    pub(crate) encode: for<'a, 'b> fn(&'a A, &'b mut Gather<'a>) -> Result<(), Refusal>,
    pub(crate) decode_arguments: for<'a, 'b> fn(&'a mut Reader<'b>) -> Result<A, Refusal>,
    pub(crate) decode: for<'a, 'b> fn(&'a mut Reader<'b>) -> Result<R, Refusal>,
    /// What failure of the function's own a result is, if it is one.
    pub(crate) failure: Failure<R>,
}

/// What is wrong in a result, if anything is.
type Failure<R> = for<'a> fn(&'a R) -> Option<&'a dyn Debug>;

/// What there is to know of a function, of which the macro knows what results are failures.
pub fn registered<F, A>(function: F, failure: Failure<F::Output>) -> Registered
where
    F: Task<A>,
    A: Arguments,
    F::Output: Serialize + DeserializeOwned,
{
    let codec =
        Codec::<A, F::Output> { encode: A::encode, decode_arguments: A::decode, decode: decode::<F::Output>, failure };
    let perform: Perform = Box::new(move |input, scratch, tell| {
        let returned = catch(|| input.whole(A::decode).map(|arguments| function.call(arguments)));
        match returned {
            Ok(Ok(result)) => {
                let mut gather = Gather::new(scratch);
                match catch(|| encode(&result, &mut gather).map(|()| failure(&result))) {
                    Ok(Ok(failure)) => tell(Ended::Returned(failure, &gather)),
                    Ok(Err(refusal)) => tell(Ended::Unsendable(refusal)),
                    Err(panic) => tell(Ended::Panicked(panic)),
                }
            }
            Ok(Err(refusal)) => tell(Ended::Unreadable(refusal)),
            Err(panic) => tell(Ended::Panicked(panic)),
        }
    });
    Registered { function: TypeId::of::<F>(), codec: Box::new(codec), perform }
}

/// A function that is known, under its name and its number.
pub(crate) struct Known {
    pub(crate) name: &'static str,
    pub(crate) number: usize,
    registered: Registered,
}

impl Known {
    /// How it travels, if these are its types.
    pub(crate) fn codec<A: 'static, R: 'static>(&self) -> Option<&Codec<A, R>> {
        self.registered.codec.downcast_ref()
    }

    /// Calls it with the arguments of one item, and tells how that ended.
    pub(crate) fn perform(&self, input: &mut Reader<'_>, scratch: &mut Vec<u8>, tell: &mut dyn FnMut(Ended<'_, '_>)) {
        (self.registered.perform)(input, scratch, tell);
    }
}

/// All functions that the program has registered.
pub(crate) struct Registry {
    by_type: HashMap<TypeId, &'static Known>,
    by_name: HashMap<&'static str, &'static Known>,
    /// A name that two functions have.
    pub(crate) duplicate: Option<&'static str>,
}

impl Registry {
    /// The one of this program.
    pub(crate) fn get() -> &'static Self {
        static REGISTRY: OnceLock<Registry> = OnceLock::new();
        REGISTRY.get_or_init(|| Self::of(&TASKS))
    }

    fn of(entries: &[Entry]) -> Self {
        let mut registry = Self { by_type: HashMap::new(), by_name: HashMap::new(), duplicate: None };
        for (number, Entry { name, make }) in entries.iter().enumerate() {
            let registered = make();
            let known: &'static Known = Box::leak(Box::new(Known { name, number, registered }));
            match registry.by_name.entry(name) {
                Place::Vacant(place) => {
                    place.insert(known);
                }
                // One function that is registered twice is the same under either.
                Place::Occupied(other) if other.get().registered.function == known.registered.function => {}
                Place::Occupied(_) => registry.duplicate = Some(name),
            }
            registry.by_type.insert(known.registered.function, known);
        }
        registry
    }

    /// The function of this type.
    pub(crate) fn of_type<F: 'static>(&self) -> Option<&'static Known> {
        self.by_type.get(&TypeId::of::<F>()).copied()
    }

    /// The function with this name.
    pub(crate) fn named(&self, name: &str) -> Option<&'static Known> {
        self.by_name.get(name).copied()
    }
}

/// Asks whether a result is a failure: an `Err` is, and everything else is not. The macro calls `failure` of
/// `&&&Verdict(result)`, of which the compiler takes the first that fits, in the order of these traits.
pub struct Verdict<'a, R>(pub &'a R);

/// For results whose errors can be shown.
pub trait Shown<'a> {
    /// The error, if it is one.
    fn failure(&self) -> Option<&'a dyn Debug>;
}

impl<'a, T, E: Debug> Shown<'a> for &&Verdict<'a, Result<T, E>> {
    fn failure(&self) -> Option<&'a dyn Debug> {
        self.0.as_ref().err().map(|error| error as &dyn Debug)
    }
}

/// For other results.
pub trait Fallible<'a> {
    /// That it is an error, if it is one.
    fn failure(&self) -> Option<&'a dyn Debug>;
}

impl<'a, T, E> Fallible<'a> for &Verdict<'a, Result<T, E>> {
    fn failure(&self) -> Option<&'a dyn Debug> {
        self.0.is_err().then_some(&"an error" as &dyn Debug)
    }
}

/// For whatever else a function returns.
pub trait Infallible<'a> {
    /// It is not.
    fn failure(&self) -> Option<&'a dyn Debug> {
        None
    }
}

impl<R> Infallible<'_> for Verdict<'_, R> {}

/// Makes a function callable in a worker, where an attribute is not wanted, or the function is not one's own.
///
/// The function is known to workers by the path of the module in which it is registered, and the name that is given here.
///
/// ```
/// mod lengths {
///     pub fn of(text: String) -> usize {
///         text.len()
///     }
/// }
/// paceline::register!(lengths::of);
///
/// fn main() -> Result<(), Box<dyn std::error::Error>> {
///     paceline::init();
///     let pool = paceline::Pool::builder().workers(1).build()?;
///     assert_eq!(pool.apply(lengths::of, ("four".to_owned(),))?, 4);
///     Ok(())
/// }
/// ```
#[macro_export]
macro_rules! register {
    ($function:path) => {
        const _: () = {
            #[$crate::__private::linkme::distributed_slice($crate::__private::TASKS)]
            #[linkme(crate = $crate::__private::linkme)]
            static TASK: $crate::__private::Entry = $crate::__private::Entry {
                name: concat!(module_path!(), "::", stringify!($function)),
                make: || {
                    #[allow(unused_imports, reason = "one of them decides")]
                    use $crate::__private::{Fallible as _, Infallible as _, Shown as _};
                    $crate::__private::registered($function, |result| (&&&$crate::__private::Verdict(result)).failure())
                },
            };
        };
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(number: u8) -> u8 {
        number
    }

    fn other(number: u8) -> u8 {
        number
    }

    fn of<F: 'static>(registry: &Registry, _: F) -> bool {
        registry.of_type::<F>().is_some()
    }

    fn entry(name: &'static str, make: fn() -> Registered) -> Entry {
        Entry { name, make }
    }

    #[test]
    fn two_functions_under_one_name_are_noticed_and_one_that_is_registered_twice_is_not() {
        let first = entry("a::one", || registered(one, |_| None));
        assert_eq!(Registry::of(&[first, first]).duplicate, None);
        assert_eq!(Registry::of(&[first, entry("a::two", || registered(other, |_| None))]).duplicate, None);
        let same_name = entry("a::one", || registered(other, |_| None));
        assert_eq!(Registry::of(&[first, same_name]).duplicate, Some("a::one"));
    }

    #[test]
    fn functions_are_found_by_type_and_by_name() {
        let registry = Registry::of(&[entry("a::one", || registered(one, |_| None))]);
        assert!(of(&registry, one) && !of(&registry, other));
        assert!(registry.named("a::one").is_some_and(|known| known.codec::<(u8,), u8>().is_some()));
        assert!(registry.named("one").is_none());
    }

    #[test]
    #[expect(clippy::needless_borrow, reason = "as the macro writes it, for any type")]
    fn only_an_err_is_a_failure_and_is_shown_if_it_can_be() {
        struct Mute;
        let shown = |failure: Option<&dyn Debug>| failure.map(|failure| format!("{failure:?}"));
        assert_eq!(shown((&&&Verdict(&Err::<(), _>(7))).failure()), Some("7".to_owned()));
        assert!(shown((&&&Verdict(&Err::<(), _>(Mute))).failure()).is_some());
        assert_eq!(shown((&&&Verdict(&Ok::<_, Mute>(7))).failure()), None);
        assert_eq!(shown((&&&Verdict(&None::<u8>)).failure()), None);
        assert_eq!(shown((&&&Verdict(&Mute)).failure()), None);
    }
}
