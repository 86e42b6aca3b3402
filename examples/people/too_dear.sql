-- The same average over the same minutes, counted at every second chunk: another question, so it costs again.
SPLIT plaza
  BEGIN 2026-09-01T13:00:00Z END 2026-09-01T13:40:00Z
  BY TIME 5sec STRIDE 5sec
  AT 5 FPS RESIZE 384x288
  INTO chunks;

PROCESS chunks USING 'people.py' TIMEOUT 200ms
  PRODUCING EXACTLY 1 ROWS
  WITH SCHEMA (people:NUMBER=0)
  INTO views;

SELECT AVG(RANGE(people, 0, 12)) AS people FROM views CONSUMING 0.8;
