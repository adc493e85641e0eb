// Answers HTTP in JavaScript, as browsers and servers know it: `fetch` events.

async function answer(request) {
  const { pathname } = new URL(request.url);
  const name = pathname.match(/^\/hello\/(.+)$/)?.[1];
  if (pathname === "/" || name) {
    return new Response(`Hello, ${decodeURIComponent(name ?? "world")}! This is JavaScript.\n`);
  }
  if (pathname === "/echo" && request.method === "POST") {
    return echo(request);
  }
  if (pathname === "/ticks") {
    return new Response(ticks(5), { headers: { "content-type": "text/event-stream" } });
  }
  return new Response("There is /, /hello/NAME, /ticks, and POST /echo.\n", { status: 404 });
}

async function echo(request) {
  try {
    return Response.json({ language: "javascript", you_sent: await request.json() });
  } catch (error) {
    return new Response(`This is no JSON: ${error.message}\n`, { status: 400 });
  }
}

// Server-sent events: one each fifth of a second.
function ticks(count) {
  const encoder = new TextEncoder();
  return new ReadableStream({
    async start(controller) {
      for (let tick = 1; tick <= count; tick++) {
        controller.enqueue(encoder.encode(`data: tick ${tick}\n\n`));
        if (tick < count) {
          await new Promise((resolve) => setTimeout(resolve, 200));
        }
      }
      controller.close();
    },
  });
}

addEventListener("fetch", (event) => event.respondWith(answer(event.request)));
