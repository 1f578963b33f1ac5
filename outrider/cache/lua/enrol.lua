-- Note the tags of a value that was loaded ahead, by a process that knows none. ARGV[4]: its life in
-- ms; [5...]: tags.
for number = 5, #ARGV do
  enrol(ARGV[number], tonumber(ARGV[4]))
end
return {'enrolled', epoch, count}
