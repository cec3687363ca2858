"""Baselines that ask the same home libraries the same: a bare asyncio loop, and the package `Sip2`."""

from __future__ import annotations

import asyncio
import logging
import tempfile
from collections.abc import Iterator, Sequence
from datetime import datetime
from time import perf_counter

from Sip2.sip2 import Sip2

HOST = "127.0.0.1"


async def ask_barely(ports: Sequence[int], connections: int, cards: Sequence[Sequence[str]]) -> float:
    """Ask with asyncio streams, checksums and fields, and nothing else. Return requests/s.

    `cards`: the cards of each library. It has no database and no time-outs, and does not interpret a reply.
    """
    waiting = [iter(numbers) for numbers in cards]
    lines = [
        (await asyncio.open_connection(HOST, port), waiting[library])
        for library, port in enumerate(ports)
        for _ in range(connections)
    ]
    began = perf_counter()
    await asyncio.gather(*(_ask_in_turn(*line, mine) for line, mine in lines))
    seconds = perf_counter() - began
    for (_, writer), _ in lines:
        writer.close()
    return sum(map(len, cards)) / seconds


async def _ask_in_turn(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, cards: Iterator[str]
) -> None:
    sequence = 0
    for card in cards:
        sequence = (sequence + 1) % 10
        moment = datetime.now().strftime("%Y%m%d    %H%M%S")  # noqa: DTZ005 - the standard's local time
        body = f"63005{moment}{' ' * 10}AO|AA{card}|AC|AD|AY{sequence}AZ"
        request = body.encode("cp850")
        writer.write(request + b"%04X\r" % (-sum(request) & 0xFFFF))
        answer = await reader.readuntil(b"\r")
        if int(answer[-5:-1], 16) != -sum(answer[:-5]) & 0xFFFF:
            raise ValueError("a reply with a wrong checksum")
        fields = {part[:2]: part[2:] for part in answer.decode("cp850")[61:].split("|")}
        if fields["AA"] != card or not fields["BL"]:
            raise ValueError("the reply to another request")


def ask_blocking(ports: Sequence[int], cards: Sequence[Sequence[str]]) -> float:
    """Ask with the package `Sip2`, one library after the other in one thread. Return requests/s."""
    with tempfile.TemporaryDirectory() as folder:
        lines = [_connected(port, folder) for port in ports]
        began = perf_counter()
        for line, own in zip(lines, cards, strict=True):
            for card in own:
                line.patron = card
                answer = line.get_response(line.sip_patron_information_request("none"))
                fields = line.sip_patron_information_response(answer)["variable"]
                if fields["AA"] != [card]:
                    raise ValueError("the reply to another request")
        seconds = perf_counter() - began
        for line in lines:
            line.disconnect()
        for handler in logging.getLogger(lines[0]._version).handlers[:]:
            logging.getLogger(lines[0]._version).removeHandler(handler)
            handler.close()
    return sum(map(len, cards)) / seconds


def _connected(port: int, folder: str) -> Sip2:
    line = Sip2()
    line.hostName, line.hostPort, line.hostEncoding = HOST, port, "cp850"
    line.tlsEnable, line.loglevel, line.logfile_path = False, "CRITICAL", folder
    line.connect()
    return line
