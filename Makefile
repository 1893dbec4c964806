# `make` lists the targets.
.DEFAULT_GOAL := help
.PHONY: help run test test-full soak fuzz lint setup

# One profile for everything that is run here: optimised a little, compiled quickly.
PROFILE := fast
CARGO_TEST := cargo test --profile $(PROFILE) --no-fail-fast
# The simulation has builds of its own: what it runs can be broken on purpose, and nothing else shall be.
SERVICE := --workspace --exclude simulation
# The front doors that are not built in by default, in every function that serves HTTP.
FRONT_DOORS := --features read-fn/alb,read-fn/apigw_rest,write-fn/alb,write-fn/apigw_rest,lith-fn/alb,lith-fn/apigw_rest
# End-to-end checks mostly wait: more of them at a time than there are processors.
export RUST_TEST_THREADS := 6

help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

run: ## Serve at http://127.0.0.1:3000 (ARGS="--help" lists the options)
	@tools/setup.sh redis
	cargo run --profile $(PROFILE) -p local --bin watershed-local -- $(ARGS)

test: ## Run all tests but the long ones
	@tools/setup.sh redis python
	cargo build --profile $(PROFILE) $(SERVICE) --bins --tests
	tools/with-ministack.sh $(CARGO_TEST) $(SERVICE)
	$(CARGO_TEST) $(SERVICE) $(FRONT_DOORS) --test front_doors
	$(CARGO_TEST) -p simulation -- --show-output

test-full: ## Run the end-to-end tests and the simulation again, with the long ones, and replace the domain
	@tools/setup.sh redis python
	cargo build --profile $(PROFILE) $(SERVICE) --bins --tests
	WATERSHED_LONG=1 tools/with-ministack.sh $(CARGO_TEST) $(SERVICE) --test e2e -- --show-output
	WATERSHED_LONG=1 $(CARGO_TEST) -p simulation -- --show-output
	tools/replace-domain/run.sh

soak: ## Simulate seed after seed (ARGS="--count 1000000 --from 20000" or "--seconds 600")
	cargo run --profile $(PROFILE) -p simulation -- $(ARGS)

fuzz: ## Fuzz every parser that meets input (ARGS="seconds per target"; needs the nightly toolchain)
	@tools/setup.sh fuzz
	tools/fuzz.sh $(ARGS)

lint: ## Check format, lints, dependencies, spelling and the paths in the docs
	@tools/setup.sh python deny
	cargo fmt --all --check
	cargo clippy --profile $(PROFILE) --workspace --all-targets --locked -- -D warnings
	cargo clippy --profile $(PROFILE) $(SERVICE) $(FRONT_DOORS) --all-targets --locked -- -D warnings
	.tools/bin/cargo-deny --log-level error check bans licenses sources
	if [ -x .venv/bin/typos ]; then .venv/bin/typos; else echo "typos is not installed: spelling is not checked"; fi
	tools/check-docs.sh

setup: ## Install what is missing: redis-server, ministack, typos, cargo-deny
	@tools/setup.sh redis python deny
