# Paceline's commands. Each target sets up what it needs; `make` alone prints the list.
#
# Needed on the machine: cargo, gcc, make, and python3 (3.11 or later) with its venv module.

PYTHON ?= python3
# `make test` also runs the Python tests on each of these that works by its name (python3.12, ...) or under pyenv.
OTHER_PYTHONS ?= 3.11 3.12 3.13
SEEDS ?= 10000
# `make sim` runs more, or with SEED=42 shows that one.
SEEDS_SIM ?= 100000
ROUNDS ?= 3
SOAK_TIMEOUT_S ?= 7200
CARGO_DENY := 0.20.2

VENV := .venv
BIN := $(VENV)/bin
NATIVE_SOURCES := Cargo.toml Cargo.lock pyproject.toml $(shell find crates -name '*.rs' -o -name Cargo.toml)

# One interpreter for every cargo command, so that PyO3 is not built anew for each way of calling it.
export PYO3_PYTHON := $(abspath $(BIN)/python)
# pip's advice to update itself is not ours to follow: what is installed is pinned.
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:
MAKEFLAGS += --no-builtin-rules

.PHONY: help
help: ## print this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

# Set-up: an environment with pinned tools, and the native module built into it.

$(BIN)/.python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Paceline needs Python 3.11 or later; name one: make PYTHON=python3.12 ..." >&2; exit 1; }
	@command -v cargo >/dev/null || { echo "Paceline needs cargo (Rust 1.88 or later) on the PATH" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(BIN)/.dev: requirements-dev.txt requirements-test.txt $(BIN)/.python
	$(BIN)/pip install --quiet -r requirements-dev.txt
	@touch $@

$(BIN)/.bench: requirements-bench.txt $(BIN)/.dev
	$(BIN)/pip install --quiet -r requirements-bench.txt
	@touch $@

$(BIN)/.native: $(NATIVE_SOURCES) $(BIN)/.dev
	VIRTUAL_ENV=$(abspath $(VENV)) $(BIN)/maturin develop --release --locked
	@touch $@

# As pip does for a wheel; without it, an environment that forbids writing bytecode compiles the package at each start.
$(BIN)/.bytecode: $(wildcard python/paceline/*.py python/paceline/*/*.py) $(BIN)/.native
	$(BIN)/python -m compileall -q python/paceline
	@touch $@

.PHONY: build
build: $(BIN)/.bytecode ## make .venv and build the native module into it (the others do this by themselves)

# To use and to measure.

.PHONY: demo
demo: build ## cross-validate scikit-learn's classifiers on its data sets, in parallel
	$(BIN)/paceline demo

.PHONY: bench
bench: build $(BIN)/.bench ## measure Paceline beside its peers; writes docs/benchmarks.md
	$(BIN)/python -m benches.compare $(BENCH)

.PHONY: balance
balance: $(BIN)/.bench ## docs/load-balance.md, of the last whole `make bench` and a simulation of the scheduler
	$(BIN)/python -m benches.balance

.PHONY: bench-experiment
bench-experiment: build ## measure what an experiment costs for each of 100,000 cells that do nothing
	$(BIN)/python -m benches.experiment

.PHONY: bench-clusters
bench-clusters: build ## measure pools on clusters beside the engines alone; writes docs/clusters-benchmarks.md
	$(BIN)/python -m benches.clusters

.PHONY: bench-scale
bench-scale: build ## measure how far one driver goes on clusters, and simulate what is larger; writes docs/scale.md
	$(BIN)/python -m benches.scale

.PHONY: sim-scale
sim-scale: build ## simulate that again, with the costs that were measured last
	$(BIN)/python -m benches.scale --simulate

.PHONY: bench-table
bench-table: ## measure the task table alone (Rust)
	cargo bench --locked -p paceline-ipc

.PHONY: bench-rust
bench-rust: ## measure the Rust face beside rayon, tokio and std::thread; BENCH=submit for some of it
	cargo bench --locked -p paceline -- $(BENCH)

# Tests. Most of them wait for processes of theirs, so two at a time take half as long; AT_ONCE=0 is for a debugger.

AT_ONCE ?= 2

.PHONY: test
test: which-pythons test-rust wheel-check test-python test-upstream test-others ## everything that must pass: Rust, the simulation, the wheel, every Python

.PHONY: test-rust
test-rust: $(BIN)/.python msrv ## the tests of all crates, and SEEDS=10000 seeds of the simulation
	cargo test --locked --workspace --exclude paceline-py
	cargo test --locked -p paceline --all-features --lib --test face
	@for example in $(RUST_EXAMPLES); do \
		echo "example $$example"; cargo run --quiet --locked -p paceline --example $$example >/dev/null || exit; done
	cargo run --locked --release -p paceline-sim -- --seeds $(SEEDS) --first-seed 0

RUST_EXAMPLES := $(basename $(notdir $(wildcard crates/paceline/examples/*.rs)))

# The oldest Rust that the crates promise to be built by, which `Cargo.toml` states.
MSRV := $(shell sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)

.PHONY: msrv
msrv: ## the Rust crates are built by the oldest Rust that they promise, where rustup has it
	@toolchain=$$(rustup toolchain list 2>/dev/null | grep -o '^$(MSRV)[^ ]*' | head -n 1); \
	if test -n "$$toolchain"; then \
		CARGO_TARGET_DIR=target/msrv cargo "+$$toolchain" check --locked -p paceline --all-features; \
	else echo "msrv: skipped, for there is no Rust $(MSRV) (rustup toolchain install $(MSRV) --profile minimal)"; fi

.PHONY: semver
semver: ## what users of the crate `paceline` call has not changed since BASELINE=main in ways that break them
	@if cargo semver-checks --version >/dev/null 2>&1; then \
		cargo semver-checks -p paceline --baseline-rev $(or $(BASELINE),main); \
	else echo "semver: skipped, for cargo-semver-checks is not installed (cargo install cargo-semver-checks)"; fi

.PHONY: test-python
test-python: build ## the Python tests; ARGS='-k name' goes to pytest
	$(BIN)/python -m pytest -n $(AT_ONCE) $(ARGS)

# They mostly sleep, so several at a time cost no more than one.
UPSTREAM := -m pytest -m upstream -n 6 -o addopts= -o timeout=180

.PHONY: test-upstream
test-upstream: build ## CPython's own tests of pools and executors, and joblib's of backends, on ours
	$(BIN)/python $(UPSTREAM)

# The Python of a version that works: by its name, or where pyenv keeps those it has installed.
define find_python
find_python() { \
	for python in python$$1 "$${PYENV_ROOT:-$$HOME/.pyenv}"/versions/$$1.*/bin/python$$1; do \
		if "$$python" -c 'import venv' >/dev/null 2>&1; then echo "$$python"; return; fi; \
	done; \
	false; \
}
endef

# Those of OTHER_PYTHONS that work and are not what .venv has, one to a line.
define other_pythons
$(find_python); \
own=$$($(BIN)/python -c 'import sys; print("%d.%d" % sys.version_info[:2])'); \
for version in $(OTHER_PYTHONS); do \
	if test $$version != $$own && find_python $$version >/dev/null; then echo $$version; fi; \
done
endef

.PHONY: which-pythons
which-pythons: $(BIN)/.python
	@others=$$($(other_pythons)); echo "Pythons to test on: $$($(BIN)/python -V)" $$others

.PHONY: test-others
test-others: $(BIN)/.python
	@others=$$($(other_pythons)); for version in $$others; do $(MAKE) --no-print-directory test-python-$$version || exit; done

.venv-%/bin/.tools: requirements-test.txt
	$(find_python); "$$(find_python $*)" -m venv .venv-$*
	.venv-$*/bin/pip install --quiet -r requirements-test.txt
	@touch $@

.PRECIOUS: .venv-%/bin/.tools .venv-%/bin/.native
.venv-%/bin/.native: $(NATIVE_SOURCES) .venv-%/bin/.tools
	VIRTUAL_ENV=$(abspath .venv-$*) PYO3_PYTHON=$(abspath .venv-$*/bin/python) CARGO_TARGET_DIR=target/python-$* \
		.venv-$*/bin/maturin develop --release --locked
	@touch $@

test-python-%: .venv-%/bin/.native
	.venv-$*/bin/python -m pytest -n $(AT_ONCE) $(ARGS)
	.venv-$*/bin/python $(UPSTREAM)

.PHONY: test-hosts
test-hosts: build ## clusters of several hosts, of which one is lost; needs root and `ip`, for network namespaces
	$(BIN)/python -m pytest -m hosts tests/test_hosts.py

.PHONY: test-starved
test-starved: build ## the engine's and the Python tests while the CPUs are taken away in bursts; needs root; ARGS go to pytest
	$(BIN)/python tests/starvation.py cargo test --locked -p paceline-engine
	$(BIN)/python tests/starvation.py $(BIN)/python -m pytest -n $(AT_ONCE) $(ARGS)

.PHONY: wheel-check
wheel-check: build ## the wheel that users get works in an empty environment, with cloudpickle alone
	rm -rf target/wheel-check
	$(BIN)/pip wheel --quiet --no-deps --wheel-dir target/wheel-check .
	$(PYTHON) -m venv target/wheel-check/venv
	target/wheel-check/venv/bin/pip install --quiet target/wheel-check/*.whl
	cd target/wheel-check && venv/bin/python -W error -I ../../checks/wheel.py

.PHONY: sim
sim: ## SEEDS_SIM=100000 seeds of the simulation; SEED=42 replays that one, with its events
	cargo run --locked --release -p paceline-sim -- $(if $(SEED),--seed $(SEED),--seeds $(SEEDS_SIM))

.PHONY: loom
loom: ## every interleaving of the task table's claims, completions, cancels and deaths
	RUSTFLAGS="--cfg loom" CARGO_TARGET_DIR=target/loom cargo test --locked --release -p paceline-ipc --test loom

.PHONY: faults
faults: build $(BIN)/.bench ## every fault with every start method and call, beside the peers; writes docs/fault-matrix.md
	$(BIN)/python -m tests.faults --rounds $(ROUNDS) $(FAULTS)

.PHONY: promises
promises: build ## ask every backend for each promise; writes the table in docs/clusters.md
	PACELINE_WRITE_PROMISES=1 $(BIN)/python -m pytest -q tests/contract/test_promises.py

.PHONY: soak
soak: build ## a million tasks among random faults, for ten minutes; then the fault tests over and over
	$(BIN)/python -m tests.soak $(SOAK)
	$(BIN)/python -m pytest -m soak -o faulthandler_timeout=$(SOAK_TIMEOUT_S) $(ARGS)

.PHONY: miri
miri: ## the core and the task table under miri, where it is installed
	@if cargo miri --version >/dev/null 2>&1; then cargo miri test --locked -p paceline-core -p paceline-ipc --lib; \
	elif cargo +nightly miri --version >/dev/null 2>&1; then \
		cargo +nightly miri test --locked -p paceline-core -p paceline-ipc --lib; \
	else echo "miri: skipped, for it is not installed (rustup component add miri --toolchain nightly)"; fi

# The fuzzers are plain programs, built with the coverage that any rustc can add; so neither a nightly toolchain nor
# cargo-fuzz is needed, though `cargo fuzz run table --sanitizer none` in `fuzz/` is the same.
FUZZ_SECONDS ?= 60
FUZZ_TARGETS := $(basename $(notdir $(wildcard fuzz/fuzz_targets/*.rs)))
FUZZ_HOST := $(shell rustc -vV 2>/dev/null | sed -n 's/^host: //p')
FUZZ_FLAGS := --cfg fuzzing -Ccodegen-units=1 -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
	-Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
	-Cllvm-args=-sanitizer-coverage-trace-compares

.PHONY: fuzz
fuzz: ## each decoder of what workers write, with chosen bytes, for FUZZ_SECONDS=60; FUZZ_TARGETS=table for one
	@command -v c++ >/dev/null || { echo "fuzz: skipped, for there is no C++ compiler to build libFuzzer with"; exit 0; }; \
	cd fuzz && RUSTFLAGS="$(FUZZ_FLAGS)" cargo build --quiet --locked --release --target $(FUZZ_HOST) || exit; \
	failed=; for target in $(FUZZ_TARGETS); do \
		mkdir -p corpus/$$target artifacts/$$target target/logs; log=target/logs/$$target; \
		if target/$(FUZZ_HOST)/release/$$target -max_total_time=$(FUZZ_SECONDS) -timeout=20 -rss_limit_mb=2048 -max_len=4096 \
			-print_final_stats=1 -artifact_prefix=artifacts/$$target/ corpus/$$target >$$log 2>&1; then \
			sed -n "s/^stat::number_of_executed_units: */fuzz: $$target: survived, inputs tried: /p" $$log; \
		else \
			failed=yes; grep -E 'panicked|^assertion|left:|right:|SUMMARY|written to' $$log; echo "fuzz: $$target: FAILED ($$log)"; \
		fi; \
	done; test -z "$$failed"

# Checks: what can be told without running a pool.

.PHONY: check
check: check-rust check-python check-layers check-dependencies ## formats, lints, types, stubs, layers, dependencies, and the quick tests

.PHONY: check-rust
check-rust: $(BIN)/.python
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets -- -D warnings
	cargo clippy --locked -p paceline --all-targets --all-features -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --quiet --locked -p paceline --no-deps --all-features
	cargo test --locked -p paceline-core -p paceline-ipc

.PHONY: check-python
check-python: build
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/python -m mypy.stubtest --ignore-disjoint-bases --ignore-unused-allowlist --allowlist checks/stubtest.txt paceline._paceline

.PHONY: check-layers
check-layers: build
	$(BIN)/lint-imports
	$(BIN)/python -m pytest --quiet tests/test_layers.py

.PHONY: check-dependencies
check-dependencies: $(BIN)/.dev
	@$(BIN)/python checks/dependencies.py

.PHONY: tools
tools: ## install what some checks need and skip where it is not there (minutes)
	cargo install --locked cargo-deny --version $(CARGO_DENY)

.PHONY: format
format: $(BIN)/.dev ## put everything into the form that `make check` asks for
	cargo fmt --all
	$(BIN)/ruff check --fix --exit-zero --quiet
	$(BIN)/ruff format

.PHONY: clean
clean: ## remove all that was built, and the environments
	rm -rf target .venv .venv-* python/paceline/*.so .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
