# Everything runs from .venv, which `make setup` builds from the pinned requirements.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready

.DEFAULT_GOAL := help
.PHONY: help setup run test proof mutation bench check lock clean

help: ## Show the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(READY) ## Build .venv with the command `handoff`

$(READY): requirements/run.txt requirements/dev.txt requirements/build.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Handoff needs Python 3.11 or newer: make PYTHON=python3.11 …")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps \
		-r requirements/build.txt -r requirements/run.txt -r requirements/dev.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $(READY)

run: setup ## Start the service with sample data and a callback receiver
	$(BIN)/handoff demo

test: setup ## Run the checks and every test, with branch coverage
	@$(MAKE) --no-print-directory check
	rm -f .coverage .coverage.*
	TMPDIR=$$($(BIN)/python tests/rigs/memory.py) \
		$(BIN)/coverage run -m pytest --numprocesses auto --dist loadfile --no-loadscope-reorder --ignore tests/proof
	$(BIN)/pytest --numprocesses auto --dist worksteal -m "not alone" tests/proof
	$(BIN)/pytest -m alone tests/proof
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report

PROOF_ := tests/proof
PROOF_clocks := tests/proof/test_clocks.py
PROOF_crash := tests/proof/test_dispatcher_crashes.py
PROOF_failover := tests/proof/test_failover.py tests/proof/test_standbys.py
PROOF_faults := tests/proof/test_faults.py tests/proof/test_disk_faults.py
PROOF_fuzz := tests/proof/test_fuzz.py
PROOF_isolation := tests/proof/test_isolation.py
PROOF_kills := tests/proof/test_kills.py
PROOF_overload := tests/proof/test_overload.py
PROOF_power := tests/proof/test_power_loss.py
PROOF_schemathesis := tests/proof/test_schemathesis.py
PROOFS := $(sort $(patsubst PROOF_%,%,$(filter PROOF_%,$(.VARIABLES))))

proof: setup ## Run the proofs in their long form, with figures (PART=crash, failover or any other: that one)
	@test -n "$(PROOF_$(PART))" || { echo "make proof knows as PART: $(PROOFS)"; exit 2; }
	$(BIN)/pytest --long --capture=no $(PROOF_$(PART))

MUTATION := .venv/mutation
# Those that know domain and service and are done in moments; test_used_tokens on SQLite.
MUTATION_TESTS := $(filter-out %_meter.py,$(wildcard $(foreach name,address_policy claims committer conversation credentials \
	decide directory_file dispatcher encoding event fallback finder ids importing lanes ledger lifecycle message presence rate \
	retry used_tokens,tests/unit/test_$(name)*.py))) tests/contract/test_used_tokens.py \
	$(foreach name,decide_machine retry_after retry_times transfers_machine,tests/property/test_$(name).py)

mutation: setup ## Break domain and service line by line, and count what the tests see (ONLY=handoff.domain.*: those)
	@test -d $(MUTATION) || $(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps \
		--target $(MUTATION) -r requirements/mutation.txt
	@PYTHONPATH=$(MUTATION):tests $(BIN)/python -m programs.make_mutants
	@PYTHONPATH=mutants/src:$(MUTATION):tests timeout $(or $(LIMIT_S),3600) $(BIN)/pytest --quiet \
		-p programs.without_shrinking -p programs.run_mutants $(foreach name,$(ONLY),--only '$(name)') $(ARGS) \
		-k "not postgres and not reclaim" $(MUTATION_TESTS) || echo "broken off: the same again goes on from here"
	@PYTHONPATH=tests $(BIN)/python -m programs.mutation_score

# Those of minutes are run by name only: growth, soak.
BENCH := assign sustained pair deliveries claims imports start limits

bench: setup ## Measure, and print tables (PART=growth, soak or any other: that one; ARGS: its options)
	@for part in $(or $(PART),$(BENCH)); do \
		PYTHONPATH=tests $(BIN)/python -m bench.$$part $(ARGS) && echo || exit; \
	done

check: setup ## Lint, types, import contracts, security, documents against the code
	$(BIN)/python -m pip check
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/bandit --quiet --recursive --configfile pyproject.toml src
	$(BIN)/pytest -q tests/unit/test_drift.py tests/unit/test_drift_operations.py tests/unit/test_tree.py \
		tests/unit/test_rules.py tests/unit/test_statements.py

lock: setup ## Pin the newest allowed versions again, with hashes
	for in in pyproject.toml:run requirements/build.in:build requirements/dev.in:dev requirements/mutation.in:mutation; do \
		$(BIN)/uv pip compile --quiet --generate-hashes --no-emit-index-url --no-header --universal --python-version 3.11 \
			$$(test $${in##*:} = run && echo "--all-extras") --upgrade $${in%%:*} -o requirements/$${in##*:}.txt \
			$$(test $${in##*:} = dev && echo "-c requirements/run.txt -c requirements/build.txt") \
			$$(test $${in##*:} = mutation && echo "-c requirements/run.txt -c requirements/dev.txt"); \
	done

clean: ## Remove .venv and what the tools left
	rm -rf .venv mutants .coverage .coverage.* .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis dist
