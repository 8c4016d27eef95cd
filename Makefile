# make run    set everything up, show the main job, serve on 127.0.0.1:8000 (PORT changes it);
#             TRAFFIC=no leaves the day of demo traffic out
# make test   set everything up, run the tests on SQLite, PostgreSQL and MariaDB where they answer
# make setup  only the environment, in .venv
# make chaos  everything goes wrong for 150 seconds (CHAOS_SECONDS) on PostgreSQL, then on SQLite
# make bench  measure against the goals of docs/performance.md
# make coverage  which lines the tests reach (without those that need real servers)
# make docs   the documentation as a site, in .artifacts/site
# make pictures  take the documentation's pictures of the console anew (needs chromium)
# make lint   style, types and import contracts
# make messages  bring the catalogues of translations up to date (needs gettext)

PORT ?= 8000
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready

.PHONY: run test chaos coverage setup bench lint docs pictures messages clean
.DEFAULT_GOAL := run

# Two gateways, so that the console shows what happens when one is switched off.
run: export SMS_ROUTE ?= simulator,standby
run: export EMAIL_ROUTE ?= simulator,standby
run: setup
	@$(BIN)/python manage.py demo --port $(PORT) $(if $(filter no,$(TRAFFIC)),--no-traffic)
	@exec $(BIN)/python manage.py runserver --noreload 127.0.0.1:$(PORT)

test: setup
	@$(BIN)/python -m tests

# A campaign has a PostgreSQL server of its own; the addresses only say which kind of database.
chaos: export CHAOS_SECONDS ?= 150
chaos: setup
	@failed=0; for url in postgres://127.0.0.1/postgres sqlite://:memory:; do \
	  DATABASE_URL=$$url $(BIN)/python -m pytest -q -s tests/live/chaos || failed=1; \
	done; exit $$failed

coverage: setup
	@$(BIN)/coverage run -m pytest -q --ignore tests/live --ignore tests/browser
	@$(BIN)/coverage report

bench: setup
	@$(BIN)/python -m benchmarks

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: setup
	@$(BIN)/mkdocs build

pictures: setup
	@$(BIN)/pytest -q tests/browser/test_pages.py tests/browser/test_codes.py -k "every_page or styled"
	@cp .artifacts/screenshots/docs/*.png docs/pictures/

# The console has one catalogue, with what it says of codes; those who get a code have their own.
messages: setup
	cd instant_notifications && ../$(BIN)/django-admin makemessages --all --no-obsolete --add-location file --ignore otp/locale --ignore otp/templates --ignore otp/forms.py --ignore otp/views.py
	cd instant_notifications/otp && ../../$(BIN)/django-admin makemessages --all --no-obsolete --add-location file --ignore admin.py --ignore apps.py --ignore models.py
	cd instant_notifications && ../$(BIN)/django-admin compilemessages

setup: $(READY)

$(READY): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; name one: make PYTHON=python3.12")'
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade 'pip>=25.1'
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[openapi,anymail]' --group dev
	@touch $@

clean:
	rm -rf .venv .tox build dist .coverage* .mypy_cache .pytest_cache .ruff_cache .import_linter_cache db.sqlite3*
