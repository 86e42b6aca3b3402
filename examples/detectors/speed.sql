-- How fast do vehicles drive on average? At most sixteen rows a chunk: more vehicles do not come by in five seconds.
SPLIT highway
  BEGIN 2026-09-01T13:00:00Z END 2026-09-01T14:00:00Z
  BY TIME 5 sec
  AT 15 FPS
  INTO chunks;

PROCESS chunks USING 'speed' TIMEOUT 2 sec
  PRODUCING 16 ROWS
  WITH SCHEMA (kmh:NUMBER=0)
  INTO vehicles;

SELECT AVG(RANGE(kmh, 0, 150)) AS kmh FROM vehicles CONSUMING 1;
