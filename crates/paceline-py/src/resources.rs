//! Owns the names of a pool's resources: which kind of token stands for each, and how many make one. Never gives any out.

use paceline_engine::{MOST_DEVICES, TOKEN_KINDS, Tokens, WHOLE_TOKEN};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

/// The resource that is a number of devices.
const DEVICES: &str = "gpu";

/// What a pool has for its tasks to share.
#[derive(Debug, Default)]
pub(crate) struct Resources {
    /// The name of each kind of token; the first is that of devices, whether there are any or not.
    names: Vec<String>,
    all: Tokens,
}

impl Resources {
    /// As many of each as is given by name.
    pub(crate) fn of(given: Vec<(String, f64)>) -> PyResult<Self> {
        let mut resources = Self { names: vec![DEVICES.to_owned()], all: Tokens::default() };
        for (name, amount) in given {
            let count = thousandths(&name, amount)?;
            if name == DEVICES && (!count.is_multiple_of(WHOLE_TOKEN) || count > MOST_DEVICES * WHOLE_TOKEN) {
                let said = format!("resources: `gpu` must be a whole number of at most {MOST_DEVICES}, not {amount}");
                return Err(PyValueError::new_err(said));
            }
            let kind = resources.kind_of(&name).unwrap_or(resources.names.len());
            if kind == TOKEN_KINDS {
                let most = TOKEN_KINDS - 1;
                return Err(PyValueError::new_err(format!("resources: there may be `gpu` and {most} others at most")));
            }
            resources.all.0[kind] = count;
            if kind == resources.names.len() {
                resources.names.push(name);
            }
        }
        Ok(resources)
    }

    pub(crate) fn all(&self) -> Tokens {
        self.all
    }

    /// What stands for so many of each; an error if a task could never have them.
    pub(crate) fn demand(&self, wanted: Vec<(String, f64)>) -> PyResult<Tokens> {
        let mut demand = Tokens::default();
        for (name, amount) in wanted {
            let count = thousandths(&name, amount)?;
            let kind = self.kind_of(&name).filter(|kind| self.all.0[*kind] > 0);
            let kind = kind.ok_or_else(|| {
                PyValueError::new_err(format!(
                    "resources: this pool has no `{name}`\nhint: say how many there are when it is opened, by \
                     `resources={{\"{name}\": ...}}`"
                ))
            })?;
            if kind == 0 && count > WHOLE_TOKEN && !count.is_multiple_of(WHOLE_TOKEN) {
                let said = format!("resources: a task has a part of one `gpu`, or whole ones, not {amount}");
                return Err(PyValueError::new_err(said));
            }
            demand.0[kind] = count;
            if count > self.all.0[kind] {
                let all = f64::from(self.all.0[kind]) / f64::from(WHOLE_TOKEN);
                let said = format!("resources: {amount} of `{name}` can never be had: this pool has {all}");
                return Err(PyValueError::new_err(said));
            }
        }
        Ok(demand)
    }

    fn kind_of(&self, name: &str) -> Option<usize> {
        self.names.iter().position(|known| known == name)
    }
}

fn thousandths(name: &str, amount: f64) -> PyResult<u32> {
    let count = (amount * f64::from(WHOLE_TOKEN)).round();
    if !(count >= 1.0 && count <= f64::from(u32::MAX)) {
        let said = format!("resources: `{name}` must be from 0.001 to {}, not {amount}", u32::MAX / WHOLE_TOKEN);
        return Err(PyValueError::new_err(said));
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is within bounds")]
    Ok(count as u32)
}
