# make demo: the main job on the embedded default; make test: the tests. Both set up .venv first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test lint setup clean
.DELETE_ON_ERROR:

demo: $(VENV)/.dsd
	$(BIN)/dsd demo

test: $(VENV)/.dev
	$(BIN)/python -m pytest -n auto --dist loadgroup

lint: $(VENV)/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

setup: $(VENV)/.dev

# uv where it is or can be had, plain pip otherwise; versions from constraints.txt. Compiled once
# here: where Python may not write its bytecode, every command would compile again, for a second.
$(VENV)/.dsd $(VENV)/.dev: $(VENV)/.%: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	    { echo "dsd needs Python 3.11 or newer; give one: make $@ PYTHON=python3.12"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@uv=$$(command -v uv || { $(BIN)/python -m pip install -q uv >/dev/null 2>&1 && echo $(BIN)/uv; }); \
	what='.$(if $(filter dev,$*),[dev])'; \
	if [ -n "$$uv" ] && "$$uv" pip install -q --compile-bytecode --python $(BIN)/python -c constraints.txt -e "$$what"; \
	then :; else $(BIN)/python -m pip install -q -c constraints.txt -e "$$what"; fi
	@$(BIN)/python -m compileall -q dsd
	@touch $@

clean:
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
