//! Owns what can be called in a worker, and with which arguments: the trait that every function and closure has. Never
//! calls one.

/// A function that can be called with these arguments, a tuple.
///
/// Every function and closure that takes up to eight arguments and may be used by other threads is one; there is nothing
/// to implement. Worker processes take registered functions alone: see [`task`](macro@crate::task). It may be called more
/// than once, so what a call consumes is given to it as an argument.
pub trait Task<Arguments>: Send + Sync + 'static {
    /// What it returns.
    type Output: Send + 'static;

    /// Calls it.
    fn call(&self, arguments: Arguments) -> Self::Output;
}

macro_rules! functions {
    ($(($($type:ident $name:ident),*))*) => {$(
        impl<Function, Output, $($type),*> Task<($($type,)*)> for Function
        where
            Function: Fn($($type),*) -> Output + Send + Sync + 'static,
            Output: Send + 'static,
        {
            type Output = Output;

            fn call(&self, ($($name,)*): ($($type,)*)) -> Output {
                self($($name),*)
            }
        }
    )*};
}

functions! {
    ()
    (A a)
    (A a, B b)
    (A a, B b, C c)
    (A a, B b, C c, D d)
    (A a, B b, C c, D d, E e)
    (A a, B b, C c, D d, E e, F f)
    (A a, B b, C c, D d, E e, F f, G g)
    (A a, B b, C c, D d, E e, F f, G g, H h)
}
