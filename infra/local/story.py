"""The story of one guest, from registration to the next login, on today's dates, over the real HTTP APIs."""

import asyncio
import secrets
import threading
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx2
from rich.console import Console

from infra.local.story_steps import (
    Answer,
    CameOutWrong,
    Transcript,
    answer_of,
    client_of,
    dutch_date,
    header_of,
    last_of_the_month,
    libraries_merged,
    membership_ended,
    rows_after_expiry,
    rows_after_reregistration,
    three_months_after,
    until,
)
from shared.kernel.amsterdam import AMSTERDAM

HOME_ISIL = "NL-070288"
MERGING_ISIL = "NL-070277"
HOME_ORGANISATION = "3003"
GUEST_ORGANISATION = "1001"
CARD, USERNAME = "0990139305", "jan.jansen"
REFUSED_CARD = "0990139339"
REFUSAL = "Gastlener kan niet worden ingeschreven: reden [ Klant is geblokkeerd ]"


def another_card() -> str:
    """Return the number of a card that most likely no earlier run of the story had."""
    return f"0991{500_000 + secrets.randbelow(500_000):06d}"


class Story:
    """The steps of the story. `run` raises CameOutWrong at the first result that the rules do not allow."""

    def __init__(self, stack: Mapping[str, Any], run_dir: Path, transcript: Transcript) -> None:
        self._stack = stack
        self._patrons = run_dir / "home_library.json"
        self._home_libraries = run_dir / "home_libraries.toml"
        self._script = transcript
        self._today = datetime.now(AMSTERDAM).date()

    async def run(self) -> None:
        async with (
            client_of(self._stack, "registration", "counter") as counter,
            client_of(self._stack, "identity", "wisecat") as login,
            client_of(self._stack, "registration", "operator") as operator,
        ):
            card, guest = await self._at_the_counter(counter)
            account = guest["login_link"]["account_id"]
            actor = await self._at_home(login, account)
            await self._link_and_first_login(counter, login, guest, actor)
            await self._a_refused_card(counter)
            with membership_ended(self._patrons, card):
                await self._expiry(counter, guest["guest_id"])
            await self._reregistration(counter, guest["guest_id"])
            await self._login_afterwards(login, guest, actor)
            await self._libraries_merge(counter, login, operator)

    async def _at_the_counter(self, counter: httpx2.AsyncClient) -> tuple[str, Answer]:
        script = self._script
        script.scene("At the counter: register a guest (inschrijven gastklant)")
        card, username = CARD, USERNAME
        response = await self._scan_and_register(counter, card, username)
        if response.status_code == 409:
            # The story ran before on this data: another patron has the same story.
            script.says(
                "system", f"card {card} was registered by an earlier run of the story: another patron comes"
            )
            card = another_card()
            username = f"load.{card}"
            response = await self._scan_and_register(counter, card, username)
        script.expect("the guest is registered, HTTP status", response.status_code, 201)
        guest = response.json()
        end = three_months_after(self._today)
        script.shows(f"gastleen abonnement  {guest['header']}   Vervalt {dutch_date(guest['expires_on'])}")
        script.expect("header", guest["header"], header_of(end))
        script.expect("expires on", guest["expires_on"], last_of_the_month(end).isoformat())
        script.expect(
            "provisional term",
            guest["term"] | {"stale": False},
            {
                "begin": self._today.isoformat(),
                "end": end.isoformat(),
                "provisional": True,
                "stale": False,
            },
            detail=f"{dutch_date(self._today.isoformat())} → {dutch_date(end.isoformat())}",
        )
        script.expect("lending strips (code 780)", guest["lending_strips"], 125)
        script.expect("self-service", guest["self_service"], True, detail="yes, the card has a chip")
        return card, guest

    async def _scan_and_register(
        self, counter: httpx2.AsyncClient, card: str, username: str
    ) -> httpx2.Response:
        script = self._script
        script.says("clerk", f"scans card {card}")
        found = await self._get(counter, "/v1/home-libraries", card_number=card)
        script.expect("ISIL found from the card", found["match"], "none")
        script.says("clerk", f"types the ISIL {HOME_ISIL}")
        verdict = await self._get(counter, f"/v1/home-patrons/{HOME_ISIL}/{card}")
        script.expect("reply of the home library", verdict["verdict"], "valid")
        script.shows(
            f"{verdict['details']['name']}, {verdict['details']['address']}  (kan niet worden aangepast)"
        )
        script.says("clerk", f"chooses 'Bestaand inlogaccount gebruiken' and searches {username}")
        search = await self._get(counter, "/v1/login-accounts", username=username, home_isil=HOME_ISIL)
        account = search["account"]
        script.expect("login account found", (account or {}).get("username"), username)
        script.says("clerk", "presses 'OK en Opslaan'")
        return await counter.post(
            "/v1/guests",
            json={
                "card_number": card,
                "home_isil": HOME_ISIL,
                "branch": "9453",
                "subscription_code": "346",
                "card_has_chip": True,
                "identity_document_checked": True,
                "login_account": {"choice": "existing", "account_handle": account["account_handle"]},
            },
        )

    async def _at_home(self, login: httpx2.AsyncClient, account: str) -> str:
        self._script.scene("At the home library: the patron logs in to its Wisecat+")
        outcome = await self._log_in(login, account, HOME_ORGANISATION)
        self._script.expect("outcome", outcome["outcome"], "recognised")
        return str(outcome["actor_id"])

    async def _link_and_first_login(
        self, counter: httpx2.AsyncClient, login: httpx2.AsyncClient, guest: Answer, actor: str
    ) -> None:
        script = self._script
        script.scene("At the guest library: the first login to its Wisecat+")
        outcome = await self._log_in(login, guest["login_link"]["account_id"], GUEST_ORGANISATION)
        script.expect("outcome", outcome["outcome"], "recognised")
        script.expect("first login here", outcome["first_login"], True, detail="yes")
        script.expect("same actor as at the home library", outcome["actor_id"], actor)
        script.expect("recognised as guest", outcome["guest"]["guest_id"], guest["guest_id"])
        script.says("system", "identity reports the link to registration")
        linked = await until(
            lambda: self._linked(counter, guest["guest_id"]), "the link to reach registration"
        )
        script.expect("login account (inlogaccount)", linked["login_link"]["state"], "linked")

    async def _linked(self, counter: httpx2.AsyncClient, guest_id: str) -> Answer | None:
        guest = await self._get(counter, f"/v1/guests/{guest_id}")
        return guest if guest["login_link"]["state"] != "pending" else None

    async def _a_refused_card(self, counter: httpx2.AsyncClient) -> None:
        script = self._script
        script.scene("At the counter: a blocked patron (geblokkeerde klanten)")
        script.says("clerk", f"scans card {REFUSED_CARD}")
        response = await self._register(counter, REFUSED_CARD, HOME_ISIL)
        problem = response.json()
        reply = (response.status_code, problem.get("code"))
        script.expect("reply", reply, (409, "guest-refused"), detail="409 guest-refused")
        script.shows(problem["detail"], style="bold red")
        script.expect("exactly this sentence", problem["detail"], REFUSAL)

    async def _expiry(self, counter: httpx2.AsyncClient, guest_id: str) -> None:
        script = self._script
        script.scene("The membership at the home library ends")
        script.says("home library", "cancels the subscription")
        script.says("clerk", "opens the guest: the system asks the home library again at once")
        guest = await self._post(counter, f"/v1/guests/{guest_id}/home-check")
        script.shows(f"9453 (Roden)   gastleen abonnement   {guest['header']}", style="bold red")
        script.shows("Pas niet geldig!", style="bold red")
        script.expect("status", guest["status"], "expired")
        script.expect("header", guest["header"], "Ongeldig  Opgezegd, reden overig")
        script.contributions(guest["contributions"], rows_after_expiry(self._today))

    async def _reregistration(self, counter: httpx2.AsyncClient, guest_id: str) -> None:
        script = self._script
        script.scene("At the counter: re-register the guest (herinschrijven gastklant)")
        script.says("home library", "renews the subscription")
        script.says("clerk", "presses 'Inschrijven' with patron type (klanttype) 05")
        path = f"/v1/guests/{guest_id}/reregistration"
        refused = await counter.post(path, json={"patron_type": "05"})
        reply = (refused.status_code, refused.json().get("code"))
        script.expect("reply", reply, (422, "wrong-patron-type"), detail="422 wrong-patron-type")
        script.shows(refused.json()["detail"], style="red")
        script.says("clerk", "presses 'Inschrijven' with patron type (klanttype) 04")
        guest = await self._post(counter, path, {"patron_type": "04"})
        end = three_months_after(self._today)
        script.shows(f"gastleen abonnement  {guest['header']}   Vervalt {dutch_date(guest['expires_on'])}")
        script.expect("header", guest["header"], header_of(end))
        script.expect("status", guest["status"], "valid")
        script.expect("lending strips, unchanged", guest["lending_strips"], 125)
        script.expect("login account, unchanged", guest["login_link"]["state"], "linked")
        script.contributions(guest["contributions"], rows_after_reregistration(self._today))
        script.expect(
            "every row",
            {
                (row["organisation"], row["branch"], row["subscription"], row["cost"], row["sector"])
                for row in guest["contributions"]
            },
            {("1001", "9453", "346-gastleen abonnement", "0.00", "BIEB")},
            detail="1001 / 9453, 346-gastleen abonnement, 0,00, BIEB",
        )

    async def _login_afterwards(self, login: httpx2.AsyncClient, guest: Answer, actor: str) -> None:
        script = self._script
        script.scene("At the guest library: the next login to its Wisecat+")
        account = guest["login_link"]["account_id"]
        script.says("patron", f"logs in with account {account} at organisation {GUEST_ORGANISATION}")
        outcome = await until(
            lambda: self._valid_again(login, account), "the re-registration to reach identity"
        )
        script.expect("outcome", outcome["outcome"], "recognised")
        script.expect("first login here", outcome["first_login"], False, detail="no")
        script.expect("same actor as before", outcome["actor_id"], actor)
        script.expect(
            "subscription ends on", outcome["guest"]["ends_on"], three_months_after(self._today).isoformat()
        )

    async def _libraries_merge(
        self, counter: httpx2.AsyncClient, login: httpx2.AsyncClient, operator: httpx2.AsyncClient
    ) -> None:
        """Show a guest under the ISIL of a library that merges, with a login account under the other one."""
        script, card = self._script, another_card()
        account, username = f"acc-{card}", f"load.{card}"
        script.scene("Two home libraries merge after a registration")
        script.says("clerk", f"registers card {card} of {MERGING_ISIL}, without a login account")
        registered = await self._register(counter, card, MERGING_ISIL)
        script.expect("the guest is registered, HTTP status", registered.status_code, 201)
        guest_id = registered.json()["guest_id"]
        script.says("operator", f"makes {MERGING_ISIL} an alias of {HOME_ISIL}, and has the file taken")
        with libraries_merged(self._home_libraries, MERGING_ISIL, HOME_ISIL):
            await self._take_settings(operator)
            script.says("patron", f"logs in with account {account} of {HOME_ISIL}, until it is decided")
            problem = await until(lambda: self._refused_login(login, account), "the index to follow")
            script.expect("no new actor, but", problem["code"], "link-required")
            script.says("clerk", f"registers card {card} of {HOME_ISIL}")
            twice = (await self._register(counter, card, HOME_ISIL)).json()
            known = (twice.get("code"), twice.get("guest_id"))
            script.expect("reply", known, ("already-registered", guest_id), detail="already-registered")
            script.says("clerk", f"links the account {username}")
            search = await self._get(counter, "/v1/login-accounts", username=username, home_isil=MERGING_ISIL)
            choice = {"choice": "existing", "account_handle": search["account"]["account_handle"]}
            await self._post(counter, f"/v1/guests/{guest_id}/login-account", choice)
            outcome = await self._log_in(login, account, GUEST_ORGANISATION)
            script.expect("outcome", outcome["outcome"], "recognised")
            script.expect("recognised as guest", outcome["guest"]["guest_id"], guest_id)
        await self._take_settings(operator)

    async def _take_settings(self, operator: httpx2.AsyncClient) -> None:
        """Have all processes of registration take the files of settings as they are now."""
        reason = {"reason": "two libraries merged, as the story tells"}
        reloaded = await self._post(operator, "/v1/operations/configuration/reload", reason)
        taken = {outcome["state"] for outcome in reloaded["outcomes"]}
        if taken != {"taken"}:
            raise RuntimeError(f"not all processes took the settings: {reloaded['outcomes']}")

    async def _register(self, counter: httpx2.AsyncClient, card: str, home_isil: str) -> httpx2.Response:
        return await counter.post(
            "/v1/guests",
            json={
                "card_number": card,
                "home_isil": home_isil,
                "branch": "9453",
                "subscription_code": "346",
                "card_has_chip": True,
                "identity_document_checked": True,
                "login_account": {"choice": "none"},
            },
        )

    async def _refused_login(self, login: httpx2.AsyncClient, account: str) -> Answer | None:
        """Log in. Return None as long as identity says: try again."""
        body = {"account_id": account, "organisation": GUEST_ORGANISATION}
        response = await login.post("/v1/logins", json=body)
        return None if response.status_code == 503 else {"code": None, **response.json()}

    async def _valid_again(self, login: httpx2.AsyncClient, account: str) -> Answer | None:
        """Log in. Return None as long as the re-registration has not reached identity."""
        outcome = await self._outcome(login, account, GUEST_ORGANISATION)
        return outcome if outcome["guest"]["status"] == "valid" else None

    async def _log_in(self, login: httpx2.AsyncClient, account: str, organisation: str) -> Answer:
        self._script.says("patron", f"logs in with account {account} at organisation {organisation}")
        return await self._outcome(login, account, organisation)

    async def _outcome(self, login: httpx2.AsyncClient, account: str, organisation: str) -> Answer:
        return await self._post(login, "/v1/logins", {"account_id": account, "organisation": organisation})

    async def _get(self, client: httpx2.AsyncClient, path: str, **query: str) -> Answer:
        return answer_of(await client.get(path, params=query))

    async def _post(self, client: httpx2.AsyncClient, path: str, body: Answer | None = None) -> Answer:
        return answer_of(await client.post(path, json=body))


class StoryRun:
    """One run of the story in a thread of its own. It starts at once."""

    def __init__(self, stack: Mapping[str, Any], run_dir: Path, console: Console) -> None:
        self.passed = False
        self._console = console
        self._transcript = Transcript(console)
        self._story = Story(stack, run_dir, self._transcript)
        self._loop = asyncio.new_event_loop()
        self._task = self._loop.create_task(self._story.run())
        self._thread = threading.Thread(target=self._run, name="story", daemon=True)
        self._thread.start()

    @property
    def ended(self) -> bool:
        return not self._thread.is_alive()

    def cancel(self) -> None:
        """Stop the story early. It first restores what it changed at the home library."""
        if not self.ended:
            self._loop.call_soon_threadsafe(self._task.cancel)
            self._thread.join(timeout=2)

    def _run(self) -> None:
        try:
            self._loop.run_until_complete(self._task)
        except asyncio.CancelledError:
            return
        except CameOutWrong as wrong:
            self._report_failure(str(wrong))
        except Exception as error:  # whatever fails, the stack stays up and shows it
            self._report_failure(f"{type(error).__name__}: {error}")
        else:
            self.passed = True
            checks = self._transcript.checked
            self._console.print(f"\n[bold green]The story is complete[/]: all {checks} checks passed.")
        finally:
            self._loop.close()

    def _report_failure(self, why: str) -> None:
        self._console.print("\n[bold red]The story failed[/]")
        self._console.print(why, style="red", markup=False)
