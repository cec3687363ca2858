"""The story, from the counter to the first login and back, through the real HTTP APIs, on today's dates."""

import asyncio
import secrets
import threading
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
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
    membership_ended,
    rows_after_expiry,
    rows_after_reregistration,
    three_months_after,
    until,
)
from shared.kernel.amsterdam import AMSTERDAM

HOME_ISIL = "NL-070288"
HOME_ORGANISATION = "3003"
GUEST_ORGANISATION = "1001"
CARD, USERNAME = "0990139305", "jan.jansen"
REFUSED_CARD = "0990139339"
REFUSAL = "Gastlener kan niet worden ingeschreven: reden [ Klant is geblokkeerd ]"


class Story:
    """One walk through it. `tell` raises CameOutWrong at the first step that is not as the rules say."""

    def __init__(self, stack: Mapping[str, Any], run_dir: Path, transcript: Transcript) -> None:
        self._stack = stack
        self._patrons = run_dir / "home_library.json"
        self._script = transcript
        self._today = datetime.now(AMSTERDAM).date()

    async def tell(self) -> None:
        async with (
            client_of(self._stack, "registration", "counter") as counter,
            client_of(self._stack, "identity", "wisecat") as login,
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

    async def _at_the_counter(self, counter: httpx.AsyncClient) -> tuple[str, Answer]:
        script = self._script
        script.scene("Aan de balie: inschrijven gastklant")
        card, username = CARD, USERNAME
        response = await self._scan_and_register(counter, card, username)
        if response.status_code == 409:
            # Told before on this data: somebody else's turn, everything else stays the same.
            script.says(
                "system", f"{card} is a guest here already, from an earlier telling: the next in the queue"
            )
            card = f"0991{500_000 + secrets.randbelow(500_000):06d}"
            username = f"load.{card}"
            response = await self._scan_and_register(counter, card, username)
        script.expect("registered", response.status_code, 201)
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
            told=f"{dutch_date(self._today.isoformat())} → {dutch_date(end.isoformat())}",
        )
        script.expect("strips added (code 780)", guest["lending_strips"], 125)
        script.expect("self-service", guest["self_service"], True, told="yes, the card has a chip")
        return card, guest

    async def _scan_and_register(
        self, counter: httpx.AsyncClient, card: str, username: str
    ) -> httpx.Response:
        script = self._script
        script.says("clerk", f"scans {card}")
        found = await self._get(counter, "/v1/home-libraries", card_number=card)
        script.expect("ISIL found from the card", found["match"], "none")
        script.says("clerk", f"types the ISIL: {HOME_ISIL}")
        verdict = await self._get(counter, f"/v1/home-patrons/{HOME_ISIL}/{card}")
        script.expect("the home library says", verdict["verdict"], "valid")
        script.shows(
            f"{verdict['details']['name']}, {verdict['details']['address']}  (kan niet worden aangepast)"
        )
        script.says("clerk", f"'Bestaand inlogaccount gebruiken': searches {username}")
        search = await self._get(counter, "/v1/login-accounts", username=username, home_isil=HOME_ISIL)
        account = search["account"]
        script.expect("account found", (account or {}).get("username"), username)
        script.says("clerk", "OK en Opslaan")
        return await counter.post(
            "/v1/guests",
            json={
                "card_number": card,
                "home_isil": HOME_ISIL,
                "branch": "9453",
                "subscription_code": "346",
                "card_has_chip": True,
                "identity_document_checked": True,
                "login_account": {"choice": "existing", "account_id": account["account_id"]},
            },
        )

    async def _at_home(self, login: httpx.AsyncClient, account: str) -> str:
        self._script.scene("Meanwhile, at the patron's own library")
        outcome = await self._log_in(login, account, HOME_ORGANISATION)
        self._script.expect("login at home", outcome["outcome"], "recognised")
        return str(outcome["actor_id"])

    async def _link_and_first_login(
        self, counter: httpx.AsyncClient, login: httpx.AsyncClient, guest: Answer, actor: str
    ) -> None:
        script = self._script
        script.scene("The first login in the guest library's Wisecat+")
        outcome = await self._log_in(login, guest["login_link"]["account_id"], GUEST_ORGANISATION)
        script.expect("outcome", outcome["outcome"], "recognised")
        script.expect("a first login", outcome["first_login"], True, told="yes")
        script.expect("as the actor from home, nobody split in two", outcome["actor_id"], actor)
        script.expect("as this guest", outcome["guest"]["guest_id"], guest["guest_id"])
        script.says("system", "identity tells registration")
        linked = await until(lambda: self._linked(counter, guest["guest_id"]))
        script.expect("Inlogaccount", linked["login_link"]["state"], "linked")

    async def _linked(self, counter: httpx.AsyncClient, guest_id: str) -> Answer | None:
        guest = await self._get(counter, f"/v1/guests/{guest_id}")
        return guest if guest["login_link"]["state"] != "pending" else None

    async def _a_refused_card(self, counter: httpx.AsyncClient) -> None:
        script = self._script
        script.scene("Geblokkeerde klanten")
        script.says("clerk", f"scans {REFUSED_CARD}")
        response = await counter.post(
            "/v1/guests",
            json={
                "card_number": REFUSED_CARD,
                "home_isil": HOME_ISIL,
                "branch": "9453",
                "subscription_code": "346",
                "card_has_chip": True,
                "identity_document_checked": True,
                "login_account": {"choice": "none"},
            },
        )
        problem = response.json()
        answer = (response.status_code, problem.get("code"))
        script.expect("answer", answer, (409, "guest-refused"), told="409 guest-refused")
        script.shows(problem["detail"], style="bold red")
        script.expect("to the letter", problem["detail"], REFUSAL)

    async def _expiry(self, counter: httpx.AsyncClient, guest_id: str) -> None:
        script = self._script
        script.scene("The membership at home ends")
        script.says("home", "the subscription is cancelled")
        script.says("clerk", "opens the guest: home is asked again at once")
        guest = await self._post(counter, f"/v1/guests/{guest_id}/home-check")
        script.shows(f"9453 (Roden)   gastleen abonnement   {guest['header']}", style="bold red")
        script.shows("Pas niet geldig!", style="bold red")
        script.expect("status", guest["status"], "expired")
        script.expect("header", guest["header"], "Ongeldig  Opgezegd, reden overig")
        script.contributions(guest["contributions"], rows_after_expiry(self._today))

    async def _reregistration(self, counter: httpx.AsyncClient, guest_id: str) -> None:
        script = self._script
        script.scene("Herinschrijven gastklant")
        script.says("home", "the subscription was renewed")
        script.says("clerk", "Inschrijven, with klanttype 05")
        path = f"/v1/guests/{guest_id}/reregistration"
        refused = await counter.post(path, json={"patron_type": "05"})
        answer = (refused.status_code, refused.json().get("code"))
        script.expect("answer", answer, (422, "wrong-patron-type"), told="422 wrong-patron-type")
        script.shows(refused.json()["detail"], style="red")
        script.says("clerk", "Inschrijven, with klanttype 04")
        guest = await self._post(counter, path, {"patron_type": "04"})
        end = three_months_after(self._today)
        script.shows(f"gastleen abonnement  {guest['header']}   Vervalt {dutch_date(guest['expires_on'])}")
        script.expect("header", guest["header"], header_of(end))
        script.expect("status", guest["status"], "valid")
        script.expect("strips: no new ones", guest["lending_strips"], 125)
        script.expect("the login link stayed", guest["login_link"]["state"], "linked")
        script.contributions(guest["contributions"], rows_after_reregistration(self._today))
        script.expect(
            "every row, otherwise",
            {
                (row["organisation"], row["branch"], row["subscription"], row["cost"], row["sector"])
                for row in guest["contributions"]
            },
            {("1001", "9453", "346-gastleen abonnement", "0.00", "BIEB")},
            told="1001 / 9453, 346-gastleen abonnement, 0,00, BIEB",
        )

    async def _login_afterwards(self, login: httpx.AsyncClient, guest: Answer, actor: str) -> None:
        script = self._script
        script.scene("The next login")
        account = guest["login_link"]["account_id"]

        self._script.says("patron", f"logs in as {account} at organisation {GUEST_ORGANISATION}")
        outcome = await until(lambda: self._valid_again(login, account))
        script.expect("outcome", outcome["outcome"], "recognised")
        script.expect("a first login", outcome["first_login"], False, told="no, that was before")
        script.expect("the same actor", outcome["actor_id"], actor)
        script.expect("ends on", outcome["guest"]["ends_on"], three_months_after(self._today).isoformat())

    async def _valid_again(self, login: httpx.AsyncClient, account: str) -> Answer | None:
        """The re-registration reaches identity a moment later: until then it still reports the expiry."""
        outcome = await self._outcome(login, account, GUEST_ORGANISATION)
        return outcome if outcome["guest"]["status"] == "valid" else None

    async def _log_in(self, login: httpx.AsyncClient, account: str, organisation: str) -> Answer:
        self._script.says("patron", f"logs in as {account} at organisation {organisation}")
        return await self._outcome(login, account, organisation)

    async def _outcome(self, login: httpx.AsyncClient, account: str, organisation: str) -> Answer:
        return await self._post(login, "/v1/logins", {"account_id": account, "organisation": organisation})

    async def _get(self, client: httpx.AsyncClient, path: str, **query: str) -> Answer:
        return answer_of(await client.get(path, params=query))

    async def _post(self, client: httpx.AsyncClient, path: str, body: Answer | None = None) -> Answer:
        return answer_of(await client.post(path, json=body))


class Telling:
    """One telling of the story, begun at once."""

    def __init__(self, stack: Mapping[str, Any], run_dir: Path, console: Console) -> None:
        self.came_out_right = False
        self._console = console
        self._transcript = Transcript(console)
        self._story = Story(stack, run_dir, self._transcript)
        self._loop = asyncio.new_event_loop()
        self._task = self._loop.create_task(self._story.tell())
        self._thread = threading.Thread(target=self._run, name="story", daemon=True)
        self._thread.start()

    @property
    def ended(self) -> bool:
        return not self._thread.is_alive()

    def cancel(self) -> None:
        """Break it off; what it changed at the home library is put back."""
        if not self.ended:
            self._loop.call_soon_threadsafe(self._task.cancel)
            self._thread.join(timeout=2)

    def _run(self) -> None:
        try:
            self._loop.run_until_complete(self._task)
        except asyncio.CancelledError:
            return
        except CameOutWrong as wrong:
            self._complain(str(wrong))
        except Exception as error:  # whatever it is, the stack stays up and says so
            self._complain(f"{type(error).__name__}: {error}")
        else:
            self.came_out_right = True
            self._console.print(
                f"\n[bold green]The story came out right[/]: {self._transcript.checked} checks."
            )
        finally:
            self._loop.close()

    def _complain(self, why: str) -> None:
        self._console.print("\n[bold red]The story came out wrong[/]")
        self._console.print(why, style="red", markup=False)
