# `make` lists the targets.
.DEFAULT_GOAL := help
.PHONY: help run test test-full test-deploy soak fuzz evolution-report package synth deploy smoke destroy lint tools setup

# What is given on the command line or in the environment: taken as it is, neither make nor a shell reads commands in it.
# Recipes find it in their environment, as "$$STAGE". Only ARGS is pasted: it is the words of a command line.
ARCH := x86_64
define literal
ifneq ($(origin $(1)),undefined)
override $(1) := $$(value $(1))
export $(1)
endif
endef
$(foreach name,STAGE FROM CONFIG ARCH URL WATERSHED_TOKEN CARGO_TARGET_DIR,$(eval $(call literal,$(name))))
# TOKEN counts on the command line alone: in the environment it may be the secret of something else.
ifeq ($(origin TOKEN),command line)
override WATERSHED_TOKEN := $(value TOKEN)
export WATERSHED_TOKEN
endif

# Everything else that a recipe pastes is said here, and nowhere else.
# One profile and one set of features for everything that runs here, so that each dependency compiles once.
override PROFILE := fast
# Selected beside a single package, it gives that package's dependencies the features that the whole workspace asks for.
override UNIFIED := -p unified-features
override CARGO_TEST := cargo test --profile $(PROFILE) --no-fail-fast
# Only these builds have mutants in them.
override SIMULATION := -p simulation $(UNIFIED) --features simulation/mutants
# The packages for Lambda, for measurements. They keep their own features.
override FUNCTIONS := -p read-fn -p write-fn -p ingest-fn -p lith-fn
override TARGET_DIR := "$${CARGO_TARGET_DIR:-target}"
# The front doors that are not built in by default, in every function that serves HTTP.
override FRONT_DOORS := --features read-fn/alb,read-fn/apigw_rest,write-fn/alb,write-fn/apigw_rest,lith-fn/alb,lith-fn/apigw_rest
# End-to-end checks mostly wait: more of them at a time than there are processors.
export RUST_TEST_THREADS := 6

help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' Makefile | sed -E 's/:.*## /\t/' | expand -t 12

run: ## Serve at http://127.0.0.1:3000 (ARGS="--help" lists the options)
	@tools/setup.sh redis
	cargo build --profile $(PROFILE) -p local $(UNIFIED) --bin watershed-local
	$(TARGET_DIR)/$(PROFILE)/watershed-local $(ARGS)

test: ## Run all tests except the long ones
	@tools/setup.sh redis chromium python
	cargo build --profile $(PROFILE) --workspace --bins --tests
	tools/with-ministack.sh $(CARGO_TEST) --workspace
	$(CARGO_TEST) --workspace $(FRONT_DOORS) --test front_doors
	$(CARGO_TEST) $(SIMULATION) --test simulation -- --show-output
	@tools/setup.sh node prose templates
	cd cdk && npm test --silent
	cd tools/prose && npm test --silent
	tools/check-templates.sh

test-full: ## Run the long tests, add resources to a copy, and deploy to an emulator of AWS
	@tools/setup.sh redis chromium python
	cargo build --profile $(PROFILE) --workspace --bins --tests
	tools/with-ministack.sh $(CARGO_TEST) --workspace --test e2e -- --show-output --ignored --skip deployed::
	$(CARGO_TEST) $(SIMULATION) --test simulation -- --show-output --ignored
	@tools/setup.sh node
	tools/try-resource.sh
	$(MAKE) test-deploy

test-deploy: package ## Deploy to an emulator of AWS with the CDK, and check the HTTP contract there (takes minutes after the packages are built)
	@tools/setup.sh redis python node
	cargo build --profile $(PROFILE) --workspace --bins --tests
	$(CARGO_TEST) --workspace --test e2e -- --show-output --ignored deployed::

soak: ## Run the simulation with one seed after another (ARGS="--count 1000000 --from 20000" or "--count 9999999 --seconds 600")
	cargo build --profile $(PROFILE) $(SIMULATION) --bin simulate
	$(TARGET_DIR)/$(PROFILE)/simulate $(ARGS)

fuzz: ## Fuzz every parser of outside input (ARGS=60 for 60 seconds per target; needs the nightly toolchain)
	@tools/setup.sh fuzz
	tools/fuzz.sh $(ARGS)

evolution-report: ## Measure the stages side by side: docs/evolution/report.md (ARGS="--seed 2"; 12 minutes after the builds)
	@tools/setup.sh redis
	cargo build --release --bins $(FUNCTIONS)
	cargo build --profile $(PROFILE) --workspace --bins --tests
	$(TARGET_DIR)/$(PROFILE)/evolution-report --functions-dir $(TARGET_DIR)/release \
		--watershed-local $(TARGET_DIR)/$(PROFILE)/watershed-local $(ARGS)

package: ## Build the functions for Lambda into target/lambda (ARCH=arm64 for Graviton)
	@tools/package.sh "$$ARCH"

synth: ## Write the templates of the seven stages to cdk/cdk.out (CONFIG=my.json, a file such as cdk/config.example.json)
	@tools/cdk.sh synth
	@ls cdk/cdk.out/Watershed-*.template.json

deploy: ## Deploy a stage of shared/stages.json to AWS (STAGE=cqrs CONFIG=my.json, and FROM=cqrs-expand if that stage is deployed now)
	@tools/cdk.sh deploy $(ARGS)

smoke: ## Send test requests to a deployed service (URL=https://…, with an access token in the variable WATERSHED_TOKEN)
	@if [ -z "$$URL" ]; then echo "URL is missing: run make smoke URL=…, with the output Url of the stack" >&2; exit 2; fi
	@cargo build --quiet --profile $(PROFILE) -p ops $(UNIFIED) --bin watershed
	@$(TARGET_DIR)/$(PROFILE)/watershed smoke --url="$$URL" $(ARGS)

destroy: ## Delete the deployed stack (CONFIG=my.json), except the tables and queues that the configuration retains
	@tools/cdk.sh destroy $(ARGS)

lint: ## Check format, lints, dependencies, spelling, sentences, workflows and the paths in the docs
	@tools/setup.sh python deny node prose
	cd cdk && npm run --silent check
	cd tools/prose && npm run --silent check
	cargo fmt --all --check
	cargo clippy --profile $(PROFILE) --workspace --all-targets --locked -- -D warnings
	cargo clippy --profile $(PROFILE) --workspace $(FRONT_DOORS) --all-targets --locked -- -D warnings
	cargo clippy --profile $(PROFILE) $(SIMULATION) --all-targets --locked -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --quiet --profile $(PROFILE) --workspace --no-deps --locked
	.tools/bin/cargo-deny --log-level error check bans licenses sources
	if [ -x .venv/bin/typos ]; then .venv/bin/typos; else echo "typos is not installed, so spelling is not checked: run make setup"; fi
	if [ -x .venv/bin/zizmor ]; then .venv/bin/zizmor --offline --quiet .github; else echo "zizmor is not installed, so workflows are not checked: run make setup"; fi
	tools/check-docs.sh

tools: ## Install `watershed`, the operators' command line, with cargo
	cargo install --path tools/ops --locked --profile $(PROFILE)

setup: ## Install missing tools: redis-server, chromium, ministack, typos, zizmor, cargo-deny, the CDK, textlint, checks of templates, cargo-lambda
	@tools/setup.sh redis chromium python deny node prose templates package
