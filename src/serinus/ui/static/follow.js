// The event stream as short messages: {version, lasting, seq, at}. Connects again by itself.
const SILENCE = 10_000; // milliseconds; the server says something every second

/**
 * Calls `heard` with every message; `version` rises with every change, `lasting` with what stays a while.
 * `{login}`: who opened the stream is known no more, or otherwise; it has ended.
 */
export function follow(heard) {
  let lasting = 0;
  let last = 0;
  let welcome = false;
  let events;
  const tell = (message) => {
    last = Date.now();
    welcome = true;
    heard({ ...message, at: last });
  };
  const open = () => {
    events?.close();
    last = Date.now();
    welcome = false;
    events = new EventSource("/api/events");
    events.addEventListener("state", ({ data }) => {
      const { version, state } = JSON.parse(data);
      lasting = version;
      tell({ version, lasting, seq: state.seq });
    });
    events.addEventListener("tick", ({ data }) => {
      const { version, seq } = JSON.parse(data);
      tell({ version, lasting, seq });
    });
    events.addEventListener("login", () => tell({ login: true }));
    events.onerror = () => {
      // Refused; else it retries itself. One that is refused again and again is left to the watch.
      if (events.readyState === EventSource.CLOSED && welcome) setTimeout(open, 2000);
    };
  };
  open();
  // A connection that dies without a word (a network that is left, a machine that slept) stays open for long.
  const watch = setInterval(() => Date.now() - last > SILENCE && open(), 2000);
  return {
    close: () => {
      clearInterval(watch);
      events.close();
    },
  };
}
