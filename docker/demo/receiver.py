"""A mail server that takes everything at port 2500 and prints it. No TLS, no limits: for looking at mail, not for the internet."""

import asyncio


async def receive(reader, writer):
    def reply(text):
        writer.write(text.encode() + b"\r\n")

    async def message():
        lines = []
        while (line := await reader.readline()) not in (b".\r\n", b""):
            lines.append(line[1:] if line.startswith(b".") else line)
        return b"".join(lines)

    reply("220 receiver.example ESMTP")
    while line := (await reader.readline()).decode(errors="replace").strip():
        verb = line.split(maxsplit=1)[0].upper()
        if verb == "EHLO":
            reply("250-receiver.example\r\n250-PIPELINING\r\n250 8BITMIME")
        elif verb == "MAIL":
            print("---- a mail from", line[10:], flush=True)
            reply("250 ok")
        elif verb == "RCPT":
            print("to", line[8:], flush=True)
            reply("250 ok")
        elif verb == "DATA":
            reply("354 go on")
            print((await message()).decode(errors="replace"), "---- end", sep="", flush=True)
            reply("250 taken")
        elif verb == "QUIT":
            reply("221 bye")
            break
        else:
            reply("250 ok")
    writer.close()


async def take(reader, writer):
    try:
        await receive(reader, writer)
    except ConnectionError:  # a probe that connects and leaves
        writer.close()


async def serve():
    server = await asyncio.start_server(take, "0.0.0.0", 2500)
    print("listens at port 2500", flush=True)
    await server.serve_forever()


try:
    asyncio.run(serve())
except KeyboardInterrupt:
    pass
